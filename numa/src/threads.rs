//! The threads of a process, from `/proc/PID/task`.

use serde::{Deserialize, Serialize};

use crate::affinity::Tid;
use crate::file::{self, FactError};
use crate::root::HostRoot;

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its number.
    pub tid: Tid,
    /// Its name, 15 bytes at most. The process chooses it: good for people, nothing to decide by.
    pub name: String,
}

/// `TASK_COMM_LEN` is 16; kernel threads may have longer names here (`vhost-`, workqueues).
const LONGEST_NAME: usize = 64;

/// Threads of the process `pid`, by number; none when there is no such process. Those that end while this reads
/// are left out.
pub fn threads(root: &HostRoot, pid: i32) -> Result<Vec<Thread>, FactError> {
    let directory = root.proc(&format!("{pid}/task"));
    let mut threads = Vec::new();
    for number in file::names(&directory)? {
        let Ok(tid) = number.parse().map(Tid) else {
            continue;
        };
        let comm = file::head(&directory.join(&number).join("comm"), LONGEST_NAME);
        match comm {
            Ok(Some(name)) => threads.push(Thread {
                tid,
                name: name.trim_end_matches('\n').to_owned(),
            }),
            Ok(None) => {}
            // The file was there, the thread is gone (`ESRCH`).
            Err(FactError::Read { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    threads.sort_by_key(|thread| thread.tid);
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_are_found() {
        let (ready, wait) = std::sync::mpsc::channel();
        let (done, until) = std::sync::mpsc::channel::<()>();
        let other = std::thread::Builder::new()
            .name("another".to_owned())
            .spawn(move || {
                ready.send(Tid::current()).unwrap();
                let _ = until.recv();
            })
            .unwrap();
        let tid = wait.recv().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = threads(&HostRoot::default(), pid).unwrap();
        assert!(found.iter().any(|it| it.tid == Tid::current()));
        assert!(found.contains(&Thread {
            tid,
            name: "another".to_owned()
        }));
        drop(done);
        other.join().unwrap();
        assert!(threads(&HostRoot::default(), 1 << 23).unwrap().is_empty());
    }
}

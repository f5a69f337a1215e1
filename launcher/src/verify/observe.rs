//! Reads what the kernel and QEMU say.

use std::collections::BTreeMap;
use std::time::Duration;

use numa::file::{self, USUAL_LIMIT};
use numa::{CpuSet, FactError, HostRoot, Tid, scheduler};
use qmp::{ExecuteError, Session};
use serde_json::{Value, json};

use super::memory::MemoryCheck;
use super::report::Report;
use super::threads::{Observed, Role, ThreadCheck};
use super::{memory, threads};
use crate::machine::iothread;
use crate::machine::memory as ram;
use crate::placement::Placement;

/// One query of the monitor.
const ANSWER: Duration = Duration::from_secs(20);

/// What cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// QEMU did not tell of its threads.
    #[error("QEMU does not tell of its threads")]
    Qemu(#[source] ExecuteError),
    /// QEMU told of its threads in another way than any QEMU did.
    #[error("QEMU's answer to `{command}` has no `{missing}`")]
    Answer {
        /// The command.
        command: &'static str,
        /// What is not there.
        missing: &'static str,
    },
    /// A file of the kernel's.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// The process is not there.
    #[error("thread {} of QEMU's is not to be found in `{root}`", .tid.0)]
    Gone {
        /// The thread that was looked for.
        tid: Tid,
        /// What stands for `/`.
        root: camino::Utf8PathBuf,
    },
}

/// QEMU's threads by number, as it tells of them: never by their names, which are no stable interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Those that it tells of.
    pub roles: BTreeMap<Tid, Role>,
}

impl Identity {
    /// Asks QEMU.
    pub async fn ask(session: &Session, placement: &Placement) -> Result<Self, VerifyError> {
        let ask = |command, arguments| async move {
            let answer = session.execute_raw(command, arguments, ANSWER).await;
            answer.map_err(VerifyError::Qemu)
        };
        let mut roles = BTreeMap::new();
        let cpus = ask("query-cpus-fast", json!({})).await?;
        for cpu in cpus.as_array().into_iter().flatten() {
            let tid = tid("query-cpus-fast", &cpu["thread-id"])?;
            roles.insert(
                tid,
                Role::Vcpu(number("query-cpus-fast", &cpu["cpu-index"])?),
            );
        }
        let iothreads = ask("query-iothreads", json!({})).await?;
        for thread in iothreads.as_array().into_iter().flatten() {
            let Some(id) = thread["id"].as_str().and_then(iothread::number) else {
                continue;
            };
            roles.insert(
                tid("query-iothreads", &thread["thread-id"])?,
                Role::Iothread(id),
            );
        }
        for (index, id) in (0..).zip(ram::fill_contexts(placement)) {
            let property = json!({"path": format!("/objects/{id}"), "property": "thread-id"});
            let answer = ask("qom-get", property).await?;
            roles.insert(tid("qom-get", &answer)?, Role::Fill(index));
        }
        Ok(Self { roles })
    }

    /// The process that the threads are of, by the kernel.
    pub fn process(&self, root: &HostRoot) -> Result<i32, VerifyError> {
        let Some(tid) = self.roles.keys().next() else {
            return Err(VerifyError::Answer {
                command: "query-cpus-fast",
                missing: "thread",
            });
        };
        let status = root.proc(&format!("{}/status", tid.0));
        let text = file::read(&status, USUAL_LIMIT)?;
        let line = text.as_deref().and_then(|text| field(text, "Tgid:"));
        line.and_then(|pid| pid.parse().ok())
            .ok_or_else(|| VerifyError::Gone {
                tid: *tid,
                root: root.path().to_owned(),
            })
    }
}

fn tid(command: &'static str, value: &Value) -> Result<Tid, VerifyError> {
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    number.map(Tid).ok_or(VerifyError::Answer {
        command,
        missing: "thread-id",
    })
}

fn number(command: &'static str, value: &Value) -> Result<u32, VerifyError> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or(VerifyError::Answer {
        command,
        missing: "cpu-index",
    })
}

/// Every thread's `status`. One that ends meanwhile is left out.
pub fn statuses(root: &HostRoot, pid: i32) -> Result<Vec<String>, FactError> {
    let mut statuses = Vec::new();
    for thread in numa::threads(root, pid)? {
        let status = root.proc(&format!("{pid}/task/{}/status", thread.tid.0));
        statuses.extend(unless_ended(file::read(&status, USUAL_LIMIT))?);
    }
    Ok(statuses)
}

fn unless_ended<T>(read: Result<Option<T>, FactError>) -> Result<Option<T>, FactError> {
    match read {
        Err(FactError::Read { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {
            Ok(None)
        }
        read => read,
    }
}

/// Threads of the process, as the kernel has them. One that ends meanwhile is left out.
pub fn observed(root: &HostRoot, pid: i32) -> Result<Vec<Observed>, FactError> {
    let mut observed = Vec::new();
    for thread in numa::threads(root, pid)? {
        let status = root.proc(&format!("{pid}/task/{}/status", thread.tid.0));
        let text = unless_ended(file::read(&status, USUAL_LIMIT))?;
        let scheduler = unless_ended(scheduler::scheduler(root, pid, thread.tid))?;
        let (Some(text), Some(scheduler)) = (text, scheduler) else {
            continue;
        };
        let list = field(&text, "Cpus_allowed_list:").unwrap_or_default();
        let cpus: CpuSet = list
            .parse()
            .map_err(|_| FactError::malformed(&status, list, "a list such as `0-3,8`"))?;
        observed.push(Observed {
            tid: thread.tid,
            name: thread.name,
            cpus,
            scheduler,
        });
    }
    Ok(observed)
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.map(str::trim)
}

/// Everything of QEMU's against the placement.
pub fn observe(
    root: &HostRoot,
    pid: i32,
    identity: &Identity,
    placement: &Placement,
) -> Result<Report, FactError> {
    Ok(Report {
        threads: observe_threads(root, pid, identity, placement)?,
        memory: observe_memory(root, pid, placement)?,
    })
}

/// Its threads alone.
pub fn observe_threads(
    root: &HostRoot,
    pid: i32,
    identity: &Identity,
    placement: &Placement,
) -> Result<Vec<ThreadCheck>, FactError> {
    let threads = observed(root, pid)?;
    Ok(threads::check(placement, &identity.roles, &threads))
}

/// The guest's memory alone. Of a large guest that has touched much of its ordinary memory this takes a while.
pub fn observe_memory(
    root: &HostRoot,
    pid: i32,
    placement: &Placement,
) -> Result<Vec<MemoryCheck>, FactError> {
    let mut checks = Vec::new();
    if ram::is_huge(placement) {
        let backends = hugepages::backends(&hugepages::huge_mappings(root, pid)?);
        checks.extend(memory::check(placement, &backends));
    }
    if memory::has_ordinary(placement) {
        let mappings = hugepages::ordinary_mappings(root, pid)?;
        checks.extend(memory::check_ordinary(placement, &mappings));
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_observed() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let threads = observed(&HostRoot::default(), pid).unwrap();
        let me = Tid::current();
        let mine = threads.iter().find(|thread| thread.tid == me).unwrap();
        assert_eq!(mine.cpus, numa::affinity::get(me).unwrap());
        assert!(observed(&HostRoot::default(), 1 << 23).unwrap().is_empty());
    }

    #[test]
    fn a_threads_process_is_found() {
        let identity = Identity {
            roles: BTreeMap::from([(Tid::current(), Role::Vcpu(0))]),
        };
        let pid = identity.process(&HostRoot::default()).unwrap();
        assert_eq!(pid, i32::try_from(std::process::id()).unwrap());
    }
}

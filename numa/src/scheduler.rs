//! Real-time scheduling of threads: set, and read back from the kernel.
#![expect(unsafe_code, reason = "nix wraps no scheduler but the CPU affinity")]

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::affinity::Tid;
use crate::file::{self, FactError, USUAL_LIMIT};
use crate::root::HostRoot;

/// How the kernel schedules a thread (`sched(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// By fairness: `SCHED_OTHER`, `SCHED_BATCH`, `SCHED_IDLE`.
    Fair,
    /// `SCHED_FIFO` at this priority, 1 to 99.
    Fifo(u32),
    /// Any other, by the kernel's number.
    Other(u32),
}

/// A thread that cannot be put under `SCHED_FIFO`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("thread {} cannot run under SCHED_FIFO at priority `{priority}`: {errno}", .tid.0)]
pub struct SchedulerError {
    /// The thread.
    pub tid: Tid,
    /// What was asked.
    pub priority: u32,
    /// The kernel's answer: `EPERM` without `CAP_SYS_NICE` or an `RLIMIT_RTPRIO` of the thread's that allows it.
    pub errno: Errno,
}

/// Puts `tid` under `SCHED_FIFO`. Threads that it starts are not (`SCHED_RESET_ON_FORK`).
pub fn set_fifo(tid: Tid, priority: u32) -> Result<(), SchedulerError> {
    let failed = |errno| SchedulerError {
        tid,
        priority,
        errno,
    };
    let parameters = libc::sched_param {
        sched_priority: i32::try_from(priority).map_err(|_| failed(Errno::EINVAL))?,
    };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one `sched_param`, which is ours, and keeps no pointer. No wrapper in std or nix.
    let result = unsafe { libc::sched_setscheduler(tid.0, policy, &raw const parameters) };
    Errno::result(result).map(drop).map_err(failed)
}

/// The scheduler of a thread of the process `pid`, from its `stat`; none when there is no such thread.
pub fn scheduler(root: &HostRoot, pid: i32, tid: Tid) -> Result<Option<Scheduler>, FactError> {
    let path = root.proc(&format!("{pid}/task/{}/stat", tid.0));
    let Some(text) = file::read(&path, USUAL_LIMIT)? else {
        return Ok(None);
    };
    let parsed = parse(&text);
    parsed.map(Some).ok_or_else(|| {
        FactError::malformed(&path, &text, "a line of stat with a policy in field 41")
    })
}

/// `rt_priority` and `policy` are fields 40 and 41 (`proc_pid_stat(5)`); the name in field 2 may hold anything.
fn parse(stat: &str) -> Option<Scheduler> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(37);
    let priority = fields.next()?.parse().ok()?;
    Some(match fields.next()?.parse().ok()? {
        0 | 3 | 5 => Scheduler::Fair,
        1 => Scheduler::Fifo(priority),
        other => Scheduler::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_is_fair() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = scheduler(&HostRoot::default(), pid, Tid::current()).unwrap();
        assert_eq!(own, Some(Scheduler::Fair));
        let absent = Tid(1 << 23);
        assert_eq!(scheduler(&HostRoot::default(), pid, absent).unwrap(), None);
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_fields() {
        let rest = format!("S {}2 1 0 0 0", "-1 ".repeat(36));
        assert_eq!(
            parse(&format!("7 (CPU 0) (x)) {rest}")),
            Some(Scheduler::Fifo(2))
        );
        assert_eq!(parse("7 (x) S 1 2"), None);
    }

    #[test]
    fn no_such_thread_and_no_such_priority() {
        assert_eq!(set_fifo(Tid(1 << 23), 1).unwrap_err().errno, Errno::ESRCH);
        assert_eq!(
            set_fifo(Tid::current(), 1000).unwrap_err().errno,
            Errno::EINVAL
        );
    }
}

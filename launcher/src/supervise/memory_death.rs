//! Why the kernel ended QEMU for its memory: it tells a process nothing but a signal, and counts the reason elsewhere.

use std::fmt;

use hugepages::{Bytes, pools, refusals, sizes};
use nix::libc::{SIGBUS, SIGKILL};
use numa::file::{self, USUAL_LIMIT};
use numa::{Cgroup, ControlFile, HostRoot};

use crate::monitor::protocol::ExitStatus;

/// In both files a line `oom_kill N` (cgroup-v2, "memory.events"; `mem_cgroup_oom_control_read` in v1).
const OOM_KILLS: ControlFile<'_> = ControlFile {
    controller: "memory",
    v2: "memory.events",
    v1: "memory.oom_control",
};
const LIMIT: ControlFile<'_> = ControlFile {
    controller: "memory",
    v2: "memory.max",
    v1: "memory.limit_in_bytes",
};

/// What the kernel has counted so far. Zero where it does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Processes of the pod's group that were killed to free memory.
    oom_kills: u64,
    /// Huge pages that the pod's group, or one above it, was refused.
    refused_pages: u64,
    /// Memory of the host that hardware has broken, in kB.
    poisoned: u64,
}

impl Counts {
    /// As of now.
    pub fn read(root: &HostRoot) -> Self {
        let cgroup = Cgroup::read(root).unwrap_or_default();
        let kills = cgroup.nearest(&OOM_KILLS).ok().flatten();
        let sizes = sizes(&pools(root).unwrap_or_default());
        let refused = refusals(&cgroup, &sizes).unwrap_or_default();
        let memory = file::read(&root.proc("meminfo"), USUAL_LIMIT)
            .ok()
            .flatten();
        Self {
            oom_kills: kills.map_or(0, |(_, text)| number(&text, "oom_kill ")),
            refused_pages: refused.iter().map(|one| one.count).sum(),
            poisoned: memory.map_or(0, |text| number(&text, "HardwareCorrupted:")),
        }
    }
}

/// The number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Why QEMU died of its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryDeath {
    /// The kernel killed it to free memory; the limit of the pod's group in bytes, where it has one.
    OutOfMemory(Option<Bytes>),
    /// It touched a huge page that its group may not have.
    HugePageRefused,
    /// It touched a page that hardware has broken.
    Poisoned,
    /// It touched memory that nothing stands behind, for a reason that nothing counts.
    NothingBehind,
}

impl MemoryDeath {
    /// Why QEMU ended so; none where it was not for its memory.
    pub fn of(status: ExitStatus, before: Counts, root: &HostRoot) -> Option<Self> {
        if !matches!(status, ExitStatus::Signal(SIGKILL | SIGBUS)) {
            return None;
        }
        let limit = || Cgroup::read(root).ok()?.limit(&LIMIT).ok()?.map(Bytes);
        Self::between(status, before, Counts::read(root), limit)
    }

    /// Why QEMU cannot go on with a guest whose memory it shares with KVM, which tells of a fault where a process without
    /// KVM is sent SIGBUS; none where nothing was counted.
    pub fn of_standstill(before: Counts, root: &HostRoot) -> Option<Self> {
        Self::of_fault(before, Counts::read(root))
    }

    fn of_fault(before: Counts, after: Counts) -> Option<Self> {
        if after.poisoned > before.poisoned {
            Some(Self::Poisoned)
        } else if after.refused_pages > before.refused_pages {
            Some(Self::HugePageRefused)
        } else {
            None
        }
    }

    fn between(
        status: ExitStatus,
        before: Counts,
        after: Counts,
        limit: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Self> {
        match status {
            ExitStatus::Signal(SIGKILL) => {
                (after.oom_kills > before.oom_kills).then(|| Self::OutOfMemory(limit()))
            }
            ExitStatus::Signal(SIGBUS) => {
                Some(Self::of_fault(before, after).unwrap_or(Self::NothingBehind))
            }
            _ => None,
        }
    }
}

impl fmt::Display for MemoryDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(limit) => {
                f.write_str("out of memory: the kernel killed QEMU to free some")?;
                match limit {
                    Some(limit) => write!(f, "; the pod may use `{limit}`, give it more or the guest less"),
                    None => f.write_str("; the host has too little for all that runs on it"),
                }
            }
            Self::HugePageRefused => f.write_str(
                "QEMU was refused a huge page beyond its control group's limit; give the pod more, or the guest less",
            ),
            Self::Poisoned => f.write_str(
                "a page of QEMU's memory is poisoned: the host's hardware has an error there; see its kernel log, and move VMs away",
            ),
            Self::NothingBehind => f.write_str(
                "QEMU touched memory that nothing stands behind: no huge page was left, or a file system is full",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_explained_by_what_was_counted_since() {
        let before = Counts {
            oom_kills: 1,
            ..Counts::default()
        };
        let why = |signal, after| {
            MemoryDeath::between(ExitStatus::Signal(signal), before, after, || None)
        };
        assert_eq!(why(SIGKILL, before), None);
        let killed = Counts {
            oom_kills: 2,
            ..before
        };
        assert_eq!(why(SIGKILL, killed), Some(MemoryDeath::OutOfMemory(None)));
        assert_eq!(why(SIGBUS, before), Some(MemoryDeath::NothingBehind));
        let refused = Counts {
            refused_pages: 1,
            ..before
        };
        assert_eq!(why(SIGBUS, refused), Some(MemoryDeath::HugePageRefused));
        let poisoned = Counts {
            poisoned: 4,
            ..before
        };
        assert_eq!(why(SIGBUS, poisoned), Some(MemoryDeath::Poisoned));
        assert_eq!(why(libc::SIGSEGV, killed), None);
        assert_eq!(MemoryDeath::of_fault(before, killed), None);
        let fault = MemoryDeath::of_fault(before, refused);
        assert_eq!(fault, Some(MemoryDeath::HugePageRefused));
    }

    #[test]
    fn counts_are_read_off_the_kernels_lines() {
        assert_eq!(
            number(
                "low 0\nhigh 2\noom 3\noom_kill 4\noom_group_kill 5\n",
                "oom_kill "
            ),
            4
        );
        assert_eq!(
            number("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill "),
            7
        );
        assert_eq!(
            number("HardwareCorrupted:     4 kB\n", "HardwareCorrupted:"),
            4
        );
        assert_eq!(number("", "oom_kill "), 0);
    }
}

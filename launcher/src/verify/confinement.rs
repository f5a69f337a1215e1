//! What a VM's processes may do: capabilities, `no_new_privs`, seccomp, Landlock, each as the kernel tells it.
//!
//! Of Landlock no file of the kernel's tells anything. It is shown by what the supervisor may not do, and may
//! ([`crate::confine::shown`]).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are what they are")]
pub enum Who {
    Pid1,
    Supervisor,
    Qemu,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pid1 => "PID 1",
            Self::Supervisor => "supervisor",
            Self::Qemu => "QEMU",
        })
    }
}

/// How a process is held to the VM's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Landlock {
    /// Shown by trying.
    Held,
    /// Tried, and it is not.
    Free,
    /// This kernel has none.
    Absent,
    /// Nobody could try: no supervisor answers, or one of an older program.
    Unknown,
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "yes",
            Self::Free => "NO",
            Self::Absent => "not in this kernel",
            Self::Unknown => "not known",
        })
    }
}

/// The supervisor's answer to `confinement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `Who`")]
pub struct Shown {
    pub pid1: Landlock,
    pub supervisor: Landlock,
    pub qemu: Landlock,
}

impl Shown {
    /// Nobody answered.
    pub const UNKNOWN: Self = Self {
        pid1: Landlock::Unknown,
        supervisor: Landlock::Unknown,
        qemu: Landlock::Unknown,
    };

    /// The kernel has no Landlock.
    pub const ABSENT: Self = Self {
        pid1: Landlock::Absent,
        supervisor: Landlock::Absent,
        qemu: Landlock::Absent,
    };

    fn of(self, who: Who) -> Landlock {
        match who {
            Who::Pid1 => self.pid1,
            Who::Supervisor => self.supervisor,
            Who::Qemu => self.qemu,
        }
    }
}

/// One process; what differs between its threads is told at its worst.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessCheck {
    /// Which.
    pub process: Who,
    /// In the pod.
    pub pid: i32,
    /// What any thread has, in any set that it could use: the mask that `/proc` shows, none of them 0.
    pub capabilities: u64,
    /// No thread gains anything by an exec.
    pub no_new_privs: bool,
    /// Filters that every thread has at least; none without any.
    pub seccomp_filters: u32,
    /// Whether it is held to the VM's files.
    pub landlock: Landlock,
    /// Whether all of it is as it should be.
    pub ok: bool,
}

/// Compares what every thread's `status` (`proc_pid_status(5)`) says with what should be: no privilege, none to be gained,
/// and for QEMU a seccomp filter of its own.
pub fn check(who: Who, pid: i32, statuses: &[String], shown: Shown) -> ProcessCheck {
    let landlock = shown.of(who);
    let mut found = ProcessCheck {
        process: who,
        pid,
        capabilities: 0,
        no_new_privs: !statuses.is_empty(),
        seccomp_filters: u32::MAX,
        landlock,
        ok: false,
    };
    for status in statuses {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let mask = field(set).and_then(|mask| u64::from_str_radix(mask, 16).ok());
            found.capabilities |= mask.unwrap_or(u64::MAX);
        }
        found.no_new_privs &= field("NoNewPrivs:") == Some("1");
        // Kernels before 5.9 do not count them.
        let filtered = field("Seccomp:") == Some("2");
        let filters = field("Seccomp_filters:").and_then(|count| count.parse().ok());
        let filters = filters.unwrap_or(u32::from(filtered));
        found.seccomp_filters = found.seccomp_filters.min(filters);
    }
    if statuses.is_empty() {
        found.seccomp_filters = 0;
    }
    let filtered = who != Who::Qemu || found.seccomp_filters > 0;
    found.ok = found.capabilities == 0
        && found.no_new_privs
        && filtered
        && landlock != Landlock::Free
        && !statuses.is_empty();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Shown = Shown {
        pid1: Landlock::Held,
        supervisor: Landlock::Held,
        qemu: Landlock::Held,
    };

    fn status(capabilities: &str, no_new_privs: u8, filters: u32) -> String {
        format!(
            "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\n\
             CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t{no_new_privs}\n\
             Seccomp:\t{}\nSeccomp_filters:\t{filters}\n",
            if filters > 0 { 2 } else { 0 }
        )
    }

    #[test]
    fn the_worst_thread_is_what_counts() {
        let none = || status("0000000000000000", 1, 1);
        let all = |worst: String| check(Who::Qemu, 7, &[none(), worst, none()], HELD);
        assert!(all(none()).ok);
        let raw = all(status("0000000000002000", 1, 1));
        assert!(!raw.ok && raw.capabilities == 0x2000, "{raw:?}");
        let gains = all(status("0000000000000000", 0, 1));
        assert!(!gains.ok && !gains.no_new_privs, "{gains:?}");
        let calls = all(status("0000000000000000", 1, 0));
        assert!(!calls.ok && calls.seccomp_filters == 0, "{calls:?}");
        assert!(!check(Who::Qemu, 7, &[], HELD).ok, "it is gone");
        assert!(!check(Who::Qemu, 7, &[String::new()], HELD).ok);
    }

    #[test]
    fn only_qemu_has_to_have_a_filter_and_nobody_may_be_free() {
        let bare = [status("0000000000000000", 1, 0)];
        assert!(check(Who::Supervisor, 2, &bare, HELD).ok);
        assert!(!check(Who::Qemu, 3, &bare, HELD).ok);
        let free = Shown {
            pid1: Landlock::Free,
            ..HELD
        };
        assert!(!check(Who::Pid1, 1, &bare, free).ok);
        assert!(check(Who::Supervisor, 2, &bare, free).ok);
        for landlock in [Landlock::Absent, Landlock::Unknown] {
            let shown = Shown {
                pid1: landlock,
                ..HELD
            };
            assert!(check(Who::Pid1, 1, &bare, shown).ok);
        }
    }
}

//! Capabilities go, for good, and are read back.

use camino::Utf8PathBuf;
use caps::{CapSet, CapsHashSet};
use nix::sys::prctl;
use numa::HostRoot;

/// Privileges that did not fall.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// `no_new_privs` could not be set.
    #[error("cannot set no_new_privs")]
    NoNewPrivileges(#[source] nix::errno::Errno),
    /// A capability set could not be emptied.
    #[error("cannot empty the `{set}` capability set")]
    Drop {
        /// `Bounding`, `Ambient`, ...
        set: String,
        /// Why.
        #[source]
        source: caps::errors::CapsError,
    },
    /// A capability set could not be read back.
    #[error("cannot read the `{set}` capability set back")]
    Read {
        /// `Bounding`, `Ambient`, ...
        set: String,
        /// Why.
        #[source]
        source: caps::errors::CapsError,
    },
    /// The kernel still shows some.
    #[error("`{left}` are still in the `{set}` capability set")]
    Left {
        /// `Bounding`, `Ambient`, ...
        set: String,
        /// Which, comma separated.
        left: String,
    },
    /// A process's threads could not be looked at.
    #[error("cannot read the privileges of {process} back from `{path}`")]
    Unread {
        /// Whose.
        process: &'static str,
        /// Where.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A process has more than it should.
    #[error("{process} still shows `{what}: {value}`")]
    Kept {
        /// Whose.
        process: &'static str,
        /// The field of `/proc/PID/status`.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

/// Gives up every capability of this thread, in every set, and the right to gain any by an exec.
///
/// The bounding set can only be emptied with `CAP_SETPCAP`; without it `no_new_privs` does its work, so it is
/// set first and the bounding set is emptied as far as that is allowed.
pub fn drop_all() -> Result<(), PrivilegeError> {
    prctl::set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)?;
    let may_bound =
        caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).unwrap_or(false);
    let bounding = may_bound.then_some(CapSet::Bounding);
    let sets = [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ];
    for set in bounding.into_iter().chain(sets) {
        caps::clear(None, set).map_err(|source| PrivilegeError::Drop {
            set: format!("{set:?}"),
            source,
        })?;
    }
    verify()
}

/// What the kernel says of this thread: nothing effective, permitted, inheritable or ambient.
fn verify() -> Result<(), PrivilegeError> {
    for set in [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Ambient,
    ] {
        let left: CapsHashSet = caps::read(None, set).map_err(|source| PrivilegeError::Read {
            set: format!("{set:?}"),
            source,
        })?;
        if !left.is_empty() {
            let mut names: Vec<_> = left.iter().map(ToString::to_string).collect();
            names.sort();
            return Err(PrivilegeError::Left {
                set: format!("{set:?}"),
                left: names.join(", "),
            });
        }
    }
    Ok(())
}

/// Reads the capabilities of every thread of a process back, as the kernel shows them in `/proc/PID/task/*/status`.
pub fn verify_process(name: &'static str, pid: i32, root: &HostRoot) -> Result<(), PrivilegeError> {
    let tasks = root.proc(&format!("{pid}/task"));
    let unread = |source| PrivilegeError::Unread {
        process: name,
        path: tasks.clone(),
        source,
    };
    for entry in std::fs::read_dir(&tasks).map_err(unread)? {
        let status = entry.map_err(unread)?.path().join("status");
        match std::fs::read_to_string(&status) {
            Ok(text) => verify_status(name, &text)?,
            // A thread that ended meanwhile holds nothing.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            Err(error) => return Err(unread(error)),
        }
    }
    Ok(())
}

/// One thread's `status` (`proc_pid_status(5)`).
fn verify_status(process: &'static str, status: &str) -> Result<(), PrivilegeError> {
    let field = |wanted: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(wanted)?.strip_prefix(':'))
            .map(str::trim)
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let mask = field(set).unwrap_or("missing");
        if mask.bytes().any(|digit| digit != b'0') {
            return Err(PrivilegeError::Kept {
                process,
                what: set,
                value: mask.to_owned(),
            });
        }
    }
    match field("NoNewPrivs") {
        Some("1") => Ok(()),
        other => Err(PrivilegeError::Kept {
            process,
            what: "NoNewPrivs",
            value: other.unwrap_or("missing").to_owned(),
        }),
    }
}

/// Whether links, addresses and rules may be made here.
pub fn may_administer_network() -> bool {
    caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_NET_ADMIN).unwrap_or(false)
}

/// Whether threads may be put under a real-time scheduler by anybody's leave.
pub fn may_set_scheduler() -> bool {
    caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SYS_NICE).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                        CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

    #[test]
    fn nothing_left_is_told_from_something() {
        verify_status("x", NONE).unwrap();
        let kept = NONE.replace("CapPrm:\t0000000000000000", "CapPrm:\t0000000000001000");
        assert!(matches!(
            verify_status("x", &kept),
            Err(PrivilegeError::Kept { what: "CapPrm", .. })
        ));
        let gains = NONE.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
        assert!(matches!(
            verify_status("x", &gains),
            Err(PrivilegeError::Kept {
                what: "NoNewPrivs",
                ..
            })
        ));
        assert!(verify_status("x", "").is_err());
    }
}

//! What PID 1 and the supervisor say to each other.
//!
//! One JSON message a packet of a `SOCK_SEQPACKET` pair, with open files beside it (`unix(7)`, SCM_RIGHTS: at
//! most 253 a packet). The spawn request itself travels in a memfd, since a packet is bounded by the socket's
//! buffer and an argv is not.
//!
//! PID 1 speaks first ([`Hello`]): each supervisor, the first and all that follow a dead one, learns from it what
//! there is. What is told later is state that the next `Hello` would show as well, so nothing is lost with a
//! supervisor that dies with a packet unread.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Both sides say it; an upgrade pairs an old PID 1 with a new supervisor.
pub const VERSION: u32 = 3;
/// The oldest PID 1 that a supervisor can follow its predecessor under.
pub const OLDEST: u32 = 2;

/// Supervisor to PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// More open files for the spawn request that follows.
    Files,
    /// Start QEMU. The first file received is a memfd with a [`SpawnRequest`], the others are its files in order.
    Spawn {
        /// [`VERSION`] of the request.
        version: u32,
    },
    /// Keep the file beside this message for the supervisors to come, in place of one of the same name.
    Keep {
        /// Unique among what is kept.
        name: String,
    },
    /// Everything that takes a privilege is done: whoever comes next can finish the start.
    Settled,
    /// The supervisor has the VM in hand.
    Ready,
    /// Let the program beside this message take the place of PID 1's and the supervisor's.
    Upgrade {
        /// By which it is told how that went.
        id: String,
    },
    /// The VM's end was seen and told: the pod may end.
    Done {
        /// The pod's exit code.
        code: u8,
    },
}

/// PID 1 to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "kebab-case")]
pub enum Tell {
    /// The first word to every supervisor. Beside it QEMU's pidfd, if it runs, then the files of `kept`.
    Hello(Hello),
    /// QEMU runs; its pidfd is beside the message.
    Spawned {
        /// In the pod's PID namespace.
        pid: i32,
    },
    /// QEMU could not be started.
    SpawnFailed {
        /// Why, as the kernel or PID 1 said.
        reason: String,
    },
    /// QEMU is gone.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// PID 1 itself ended it: its time was up and nobody else had.
        #[serde(default)]
        overdue: bool,
    },
    /// PID 1 was asked to end.
    Signal {
        /// `SIGTERM`, `SIGINT`, `SIGQUIT`.
        number: i32,
    },
    /// End: a supervisor of another program follows.
    MakeWay,
    /// How an upgrade stands.
    Swap(Swap),
}

/// An upgrade in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// As whoever asked for it named it.
    pub id: String,
    /// How far it is.
    pub stage: Stage,
    /// Why it failed.
    pub reason: Option<String>,
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The new program is tried.
    UnderWay,
    /// It has taken over, PID 1 and supervisor.
    Done,
    /// The old program goes on, both halves of it.
    Failed,
}

/// What a supervisor finds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] that PID 1 speaks.
    pub version: u32,
    /// Supervisors that died before this one.
    pub restarts: u32,
    /// Several of them in a row: do without whatever may have been the cause.
    pub minimal: bool,
    /// QEMU, once it was started.
    pub qemu: Option<QemuProcess>,
    /// [`Ask::Settled`] was heard.
    pub settled: bool,
    /// How often the pod was asked to end.
    pub signals: u32,
    /// Names of the files that were kept.
    pub kept: Vec<String>,
    /// Supervisors that were started before this one: no two of one VM have the same number.
    #[serde(default)]
    pub starts: u32,
    /// Of the program that PID 1 runs.
    #[serde(default)]
    pub program: String,
    /// The version of Landlock that confines PID 1 and its children to the VM's files.
    #[serde(default)]
    pub landlock: Option<i32>,
    /// The last upgrade.
    #[serde(default)]
    pub swap: Option<Swap>,
}

/// QEMU as PID 1 knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuProcess {
    /// In the pod's PID namespace.
    pub pid: i32,
    /// How it ended, if it has.
    pub exit: Option<ExitStatus>,
    /// PID 1 itself ended it, since nobody else had.
    #[serde(default)]
    pub overdue: bool,
}

/// Everything that decides how QEMU starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Number in QEMU of each open file, in the order in which they were sent; 1 and 2 are stdout and stderr.
    pub fds: Vec<i32>,
    /// CPUs for every thread that does not get its own, kernel list form; none: PID 1's.
    pub affinity: Option<String>,
    /// `RLIMIT_MEMLOCK` in bytes, soft and hard; none: PID 1's.
    pub memlock: Option<u64>,
    /// How long after the first signal PID 1 ends QEMU itself, supervised or not; none: never.
    #[serde(default)]
    pub end_after_ms: Option<u64>,
}

/// How a process ended (`wait(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// Code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(number) {
                Ok(signal) => write!(f, "{}", signal.as_str()),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_wire_form() {
        let text = serde_json::to_string(&Tell::Exited {
            status: ExitStatus::Signal(9),
            overdue: false,
        })
        .unwrap();
        assert_eq!(
            text,
            r#"{"tell":"exited","status":{"signal":9},"overdue":false}"#
        );
        let ask: Ask = serde_json::from_str(r#"{"ask":"spawn","version":1,"later":true}"#).unwrap();
        assert_eq!(ask, Ask::Spawn { version: 1 });
        let hello = Tell::Hello(Hello {
            version: 2,
            restarts: 1,
            qemu: Some(QemuProcess {
                pid: 7,
                exit: None,
                overdue: false,
            }),
            ..Hello::default()
        });
        assert_eq!(
            serde_json::to_string(&hello).unwrap(),
            r#"{"tell":"hello","version":2,"restarts":1,"minimal":false,"qemu":{"pid":7,"exit":null,"overdue":false},"settled":false,"signals":0,"kept":[],"starts":0,"program":"","landlock":null,"swap":null}"#
        );
        let of_version_2 = r#"{"tell":"hello","version":2,"restarts":1,"minimal":false,"qemu":null,"settled":true,"signals":0,"kept":["state"]}"#;
        let Tell::Hello(old) = serde_json::from_str(of_version_2).unwrap() else {
            panic!("it is a greeting");
        };
        assert_eq!((old.version, old.starts, old.swap), (OLDEST, 0, None));
    }

    #[test]
    fn an_exit_status_reads_well() {
        assert_eq!(ExitStatus::Signal(libc::SIGKILL).to_string(), "SIGKILL");
        assert_eq!(ExitStatus::Code(1).to_string(), "exit code 1");
    }
}

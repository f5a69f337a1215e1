//! Why a session could not begin, why a command failed, why a session ended.

use std::{fmt, io, time::Duration};

use crate::Refused;

/// A session that did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket is not there, or nobody listens.
    #[error("cannot connect to the QMP socket `{path}`")]
    Connect {
        /// The socket.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nothing, or no greeting, came in time. QEMU serves one client at a time and lets others wait unanswered.
    #[error("no QMP greeting within {waited:?}; another client may hold the monitor")]
    NoGreeting {
        /// How long we waited.
        waited: Duration,
    },
    /// The peer refused to leave negotiation.
    #[error("`qmp_capabilities` was refused: {refused}")]
    Capabilities {
        /// What it said.
        refused: Refused,
    },
    /// The connection ended before the session began.
    #[error("the connection ended during negotiation: {reason}")]
    Closed {
        /// How.
        reason: CloseReason,
    },
    /// The socket failed.
    #[error("the QMP socket failed during negotiation")]
    Io(#[source] io::Error),
}

/// A command that brought no answer of the wanted type.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// QEMU understood and refused.
    #[error("`{command}` failed: {desc} ({class})")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class.
        class: ErrorClass,
        /// QEMU's words.
        desc: String,
    },
    /// No reply in time. It may still have been carried out.
    #[error("`{command}` was not answered within {deadline:?}")]
    Timeout {
        /// The command.
        command: String,
        /// The time it had.
        deadline: Duration,
    },
    /// The session is over.
    #[error("`{command}` was not answered: {reason}")]
    Closed {
        /// The command.
        command: String,
        /// Why the session ended.
        reason: CloseReason,
    },
    /// The arguments are no JSON object.
    #[error("the arguments of `{command}` cannot be written as JSON")]
    Encode {
        /// The command.
        command: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// The reply is not of the type that this command answers.
    #[error("the reply to `{command}` is not what its type says")]
    Decode {
        /// The command.
        command: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// The reply was over the size limit and was thrown away.
    #[error("the reply to `{command}` has {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// The command.
        command: String,
        /// Size of the reply.
        bytes: u64,
        /// The session's limit.
        limit: usize,
    },
    /// The session has no out-of-band capability, or the command does not allow it.
    #[error("`{command}` cannot run out of band")]
    NoOutOfBand {
        /// The command.
        command: String,
    },
    /// QEMU's socket chardev takes at most 16 descriptors with a message (`TCP_MAX_FDS`).
    #[error("`{command}` with {count} file descriptors, at most 16 go with one command")]
    TooManyFds {
        /// The command.
        command: String,
        /// How many were given.
        count: usize,
    },
}

impl ExecuteError {
    /// QEMU's own refusal, if it was one.
    pub fn refusal(&self) -> Option<(&ErrorClass, &str)> {
        match self {
            Self::Refused { class, desc, .. } => Some((class, desc)),
            _ => None,
        }
    }
}

/// QMP's error classes (QEMU `qapi/error.json`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorClass {
    /// No class of its own.
    GenericError,
    /// This QEMU has no such command.
    CommandNotFound,
    /// The device is not active.
    DeviceNotActive,
    /// There is no such device.
    DeviceNotFound,
    /// KVM lacks a capability.
    KvmMissingCap,
    /// A class that we do not know.
    Other(String),
}

impl ErrorClass {
    /// QMP's spelling.
    pub fn as_str(&self) -> &str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotActive => "DeviceNotActive",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::KvmMissingCap => "KVMMissingCap",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for ErrorClass {
    fn from(name: &str) -> Self {
        match name {
            "GenericError" => Self::GenericError,
            "CommandNotFound" => Self::CommandNotFound,
            "DeviceNotActive" => Self::DeviceNotActive,
            "DeviceNotFound" => Self::DeviceNotFound,
            "KVMMissingCap" => Self::KvmMissingCap,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed the connection: it exited, or was told to.
    #[error("the peer closed the connection{}", mid_message(*partial))]
    Eof {
        /// Bytes of a message that never became whole.
        partial: u64,
    },
    /// The socket failed.
    #[error("the connection failed: {message}")]
    Io {
        /// The kind, for matching.
        kind: io::ErrorKind,
        /// The kernel's words.
        message: String,
    },
    /// Too many lines in a row were no QMP: whoever speaks there is no monitor.
    #[error("{lines} lines in a row were no QMP")]
    NotQmp {
        /// How many.
        lines: u32,
    },
    /// We ended it: closed, or the last handle was dropped.
    #[error("the session was closed on this side")]
    Local,
}

fn mid_message(partial: u64) -> String {
    match partial {
        0 => String::new(),
        bytes => format!(" {bytes} bytes into a message"),
    }
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        Self::Io {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

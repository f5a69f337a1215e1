//! What keeps an operation from being done.

use std::io;

use camino::Utf8PathBuf;
use qmp::{ConnectError, ExecuteError};

use crate::inspect::{InspectError, plain};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// No VM, or several.
    #[error(transparent)]
    Find(#[from] InspectError),
    /// The socket does not let us in.
    #[error("cannot connect to the supervisor by `{path}`")]
    Connect {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// It is a QEMU's own.
    #[error(
        "nobody at `{path}` takes operations; it is a monitor of QEMU's own, or of an older launcher"
    )]
    NoSupervisor {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// The supervisor, QEMU or the agent says no.
    #[error("{}", said(.0))]
    Refused(ExecuteError),
    /// It has no console.
    #[error("this VM has no serial console")]
    NoConsole,
    /// Somebody types.
    #[error("somebody else types into this console; `--read-only` shows it")]
    ConsoleTaken,
    /// It did not come.
    #[error("the VM did not come to it in {seconds} s; it is {state}")]
    NotInTime {
        /// How long it had.
        seconds: u64,
        /// Where it is instead.
        state: String,
    },
    /// The old program goes on.
    #[error("the running program was kept: {}", plain(.reason))]
    NotUpgraded {
        /// What was wrong with the new one.
        reason: String,
    },
    /// It will not come any more.
    #[error("the VM has ended")]
    Over,
    /// The answer is not what this program knows.
    #[error("the supervisor's answer is not understood")]
    Answer,
    /// A file.
    #[error("cannot copy `{from}` to `{to}`")]
    Copy {
        /// From where.
        from: Utf8PathBuf,
        /// To where.
        to: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The console.
    #[error("the console cannot be shown")]
    Console(#[source] io::Error),
    /// stdout.
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
}

/// The supervisor's own words, without the name of a command that nobody typed.
fn said(error: &ExecuteError) -> String {
    match error.refusal() {
        Some((_, words)) => plain(words),
        None => plain(&error.to_string()),
    }
}

impl CtlError {
    /// What to do about it, where something helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Find(error) => error.hint(),
            Self::Refused(ExecuteError::Refused { desc, .. })
                if desc.contains("not available") || desc.contains("may change") =>
            {
                Some("only root and the launcher's own user may")
            }
            _ => None,
        }
    }
}

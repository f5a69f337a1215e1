//! What keeps an inspection from its answer.

use std::io;

use camino::Utf8PathBuf;
use qmp::{CloseReason, ConnectError, ExecuteError, schema::Misuse};

use super::escape;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Nothing runs where we looked.
    #[error("no VM runs here: no live socket in {}", list(looked))]
    NoVm {
        /// Where we looked.
        looked: Vec<Utf8PathBuf>,
    },
    /// A VM may run here, but not for our eyes.
    #[error("`{path}` may not be read by this user")]
    Closed {
        /// The first such directory.
        path: Utf8PathBuf,
    },
    /// More than one, and nobody said which.
    #[error("{} VMs run here: {}", found.len(), list(found))]
    Several {
        /// The directories, each good for `--pod`, or sockets, each good for `--socket`.
        found: Vec<Utf8PathBuf>,
    },
    /// The socket does not let us in.
    #[error("cannot inspect by `{path}`")]
    Connect {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// QEMU, or the supervisor, refused or did not answer.
    #[error("{}", escape::text(&.0.to_string()))]
    Execute(ExecuteError),
    /// The arguments are no JSON.
    #[error("the arguments of `{command}` are no JSON")]
    Arguments {
        /// The command.
        command: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The command would be refused by QEMU's parser: everything wrong with it.
    #[error("{}", misuses(.0))]
    Misuse(Vec<Misuse>),
    /// A command that may change something, without leave.
    #[error("`{command}` may change something")]
    NotReadOnly {
        /// The command.
        command: String,
    },
    /// The schema has nothing of that name.
    #[error("this QEMU has no command or event `{name}`{}", meant(nearest.as_deref()))]
    UnknownName {
        /// The name.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The schema cannot be read.
    #[error("this QEMU's schema cannot be used")]
    Schema(#[source] qmp::schema::SchemaError),
    /// The session broke while we followed events.
    #[error("the session ended: {0}")]
    Ended(CloseReason),
    /// The answer cannot be written.
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
    /// Ctrl-C cannot be waited for.
    #[error("cannot wait for an interrupt")]
    Signal(#[source] io::Error),
}

impl InspectError {
    /// What to do about it, where something helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoVm { .. } => Some("name its socket by --socket, or its directory by --pod"),
            Self::Closed { .. } => Some("ask as the user that runs the VM, or as root"),
            Self::Several { .. } => Some("choose one by --pod DIR or --socket PATH"),
            Self::NotReadOnly { .. } => Some("--allow-write lets it run"),
            Self::Misuse(_) | Self::UnknownName { .. } => {
                Some("`virt-launcher qmp schema [NAME]` shows what there is")
            }
            Self::Connect {
                source: ConnectError::NoGreeting { .. },
                ..
            } => Some(
                "a QEMU monitor serves one client at a time: use the supervisor's control.sock",
            ),
            _ => None,
        }
    }
}

fn list(paths: &[Utf8PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    quoted.join(", ")
}

fn misuses(all: &[Misuse]) -> String {
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn meant(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

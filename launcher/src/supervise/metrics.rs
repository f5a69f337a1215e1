//! Metrics, collected when they are asked for and never otherwise: one round of QMP queries that go out together, and a
//! few files of the kernel's. Served over HTTP on a unix socket.

mod collect;
mod guest;
pub mod port;
mod serve;

use camino::Utf8PathBuf;
use numa::HostRoot;
use qmp::Session;
use tokio::sync::watch;

use super::agent_poll::Answers;
pub use serve::{Listener, serve};

/// What a scrape needs.
#[derive(Debug, Clone)]
pub struct Source {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// QEMU, in the pod's PID namespace.
    pub qemu: i32,
    /// Name of each NIC and of its tap.
    pub nics: Vec<(String, String)>,
    /// To QEMU.
    pub session: Session,
    /// What the guest agent told.
    pub answers: watch::Receiver<Answers>,
    /// `/proc` and `/sys`.
    pub root: HostRoot,
    /// Where the socket is, for messages.
    pub path: Utf8PathBuf,
}

//! Commands that the supervisor answers itself, beside QEMU's.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

/// What their names begin with; QEMU has none such.
pub const PREFIX: &str = "x-virt-launcher-";
/// The capability by which a client asks for [`STATUS_EVENT`].
pub const STATUS_EVENTS: &str = "status-events";
/// Sent at once after the negotiation, and whenever the status changes; its data is the status.
pub const STATUS_EVENT: &str = "X_VIRT_LAUNCHER_STATUS";

/// The answer, or what is wrong, in words.
pub type Answering = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;

/// Who answers them.
pub trait Own: std::fmt::Debug + Send + Sync {
    /// One command, with the name that follows [`PREFIX`]. Dropping the future gives the answer up, not the command.
    fn run(self: Arc<Self>, name: String, arguments: Value) -> Answering;
    /// The VM's status as it changes.
    fn watch(&self) -> watch::Receiver<Arc<Value>>;
}

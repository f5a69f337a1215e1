//! Whether the network is still as planned while the guest runs.
//!
//! The kernel tells of changes on two netlink sockets, which are opened before privileges fall and kept by PID 1. Of
//! links it tells anybody, and anybody may look: what a message says does not matter, everything is compared anew. Of rules
//! it tells whoever had CAP_NET_ADMIN when the socket was bound, and without it nobody may look: a change is all that is
//! known. Nothing is mended: whoever changed it had his reasons, and the guest goes on with what is left.

mod message;
mod monitors;
mod watcher;

use serde::Serialize;

pub use message::tables;
pub use monitors::Monitors;
pub use watcher::watch;

/// What is known of the guest's network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Health {
    /// What is not as planned: one line an interface.
    pub links: Vec<String>,
    /// Its rules; none where nothing is translated.
    pub rules: Option<Rules>,
}

/// What is known of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Rules {
    /// Nobody has touched our tables, or virt-handler's, since they were looked at.
    Untouched,
    /// Somebody has. Whether they still serve their end, only who has CAP_NET_ADMIN can see.
    Changed,
    /// A change would not be noticed.
    Unverified,
}

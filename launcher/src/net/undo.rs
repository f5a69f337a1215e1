//! How to take back what was done: one value a change, carried out newest first.

use ipnet::IpNet;

use super::error::NetError;
use super::link::{Netlink, State};
use super::nft::{self, Family};
use super::sysctl::Previous;

/// One change's reverse. Each is content when there is nothing left to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undo {
    /// The link was made.
    DeleteLink(String),
    /// The tap was put on its bridge.
    ReleaseTap {
        tap: String,
        /// As it was before.
        up: bool,
        mtu: u32,
    },
    /// The address was added.
    RemoveAddress { link: String, address: IpNet },
    /// The setting was another.
    Restore(Previous),
    /// Our tables were made.
    DeleteTables(Vec<Family>),
}

/// Takes back everything, the newest first, and tells all that failed.
pub(super) async fn all(netlink: &Netlink, done: Vec<Undo>) -> Vec<NetError> {
    let mut failures = Vec::new();
    for step in done.into_iter().rev() {
        if let Err(failure) = one(netlink, step).await {
            failures.push(failure);
        }
    }
    failures
}

async fn one(netlink: &Netlink, step: Undo) -> Result<(), NetError> {
    match step {
        Undo::DeleteLink(link) => netlink.delete(&link).await,
        Undo::RemoveAddress { link, address } => netlink.remove_address(&link, address).await,
        Undo::Restore(previous) => previous.restore(),
        Undo::DeleteTables(families) => nft::delete(&families).await,
        Undo::ReleaseTap { tap, up, mtu } => {
            let Some(found) = netlink.find(&tap).await? else {
                // It went with its last fd.
                return Ok(());
            };
            let state = State {
                up: Some(up),
                mtu: Some(mtu),
                controller: Some(0),
            };
            netlink.set(&tap, found.index, state).await
        }
    }
}

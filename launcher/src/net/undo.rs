//! How to take back what was done: one value a change, carried out newest first.

use ipnet::IpNet;

use super::error::NetError;
use super::link::{Netlink, PortState, Saved, State};
use super::mac::MacAddr;
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
    /// The link lost its addresses and routes.
    GiveBack { link: String, saved: Saved },
    /// The pod's NIC was put on a bridge under another name.
    ReturnNic {
        index: u32,
        from: String,
        to: PortState,
    },
    /// The link was told to hear frames to one more address.
    HearNoMore {
        link: String,
        /// A guest's.
        mac: MacAddr,
    },
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
        Undo::GiveBack { link, saved } => netlink.give_back(&link, saved).await,
        Undo::ReturnNic { index, from, to } => {
            // The move may have failed before its first change.
            let Some(found) = netlink.find(&from).await? else {
                return netlink
                    .set(
                        &to.name,
                        index,
                        State {
                            up: Some(to.up),
                            ..State::default()
                        },
                    )
                    .await;
            };
            netlink.become_port(&from, found.index, &to).await
        }
        Undo::HearNoMore { link, mac } => netlink.hear_no_more(&link, mac).await,
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

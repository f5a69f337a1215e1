//! The pod's NIC as a port of a bridge, and the link that stands in for it.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::InfoKind;
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkDummy, LinkUnspec};

use super::{Netlink, State, errno, link_error};
use crate::net::error::{Action, NetError};
use crate::net::mac::MacAddr;
use crate::net::undo::Undo;

/// What a link is called, its hardware address, and the bridge it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct PortState {
    pub(in crate::net) name: String,
    pub(in crate::net) mac: MacAddr,
    /// Index of the bridge; 0 for none.
    pub(in crate::net) controller: u32,
    pub(in crate::net) up: bool,
}

impl Netlink {
    /// Gives a link another name, address and bridge. While it is down: older kernels rename no other.
    pub(in crate::net) async fn become_port(
        &self,
        link: &str,
        index: u32,
        state: &PortState,
    ) -> Result<(), NetError> {
        let down = State {
            up: Some(false),
            ..State::default()
        };
        self.set(link, index, down).await?;
        let message = LinkUnspec::new_with_index(index)
            .name(&state.name)
            .address(state.mac.0.to_vec())
            .controller(state.controller)
            .build();
        let result = self.handle.link().set(message).execute().await;
        result.map_err(|error| link_error(Action::Rename, link, errno(error)))?;
        if state.up {
            self.set(&state.name, index, State::up()).await?;
        }
        Ok(())
    }

    /// Whatever comes in by the NIC, the guest is behind the tap: the bridge need not learn it.
    pub(in crate::net) async fn learn_nothing(
        &self,
        link: &str,
        index: u32,
    ) -> Result<(), NetError> {
        let message = LinkBridgePort::new(index).learning(false).build();
        let result = self.handle.link().set_port(message).execute().await;
        result.map_err(|error| link_error(Action::Configure, link, errno(error)))
    }

    /// Has a NIC that does not hear all frames take those to `mac` too (`bridge fdb add MAC dev LINK self`).
    pub(in crate::net) async fn hear_too(
        &self,
        link: &str,
        index: u32,
        mac: MacAddr,
        done: &mut Vec<Undo>,
    ) -> Result<(), NetError> {
        let added = self
            .handle
            .neighbours()
            .add_bridge(index, &mac.0)
            .flags(NeighbourFlags::Own)
            .execute()
            .await
            .map_err(errno);
        match added {
            Ok(()) => {
                done.push(Undo::HearNoMore {
                    link: link.to_owned(),
                    mac,
                });
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            Err(error) => Err(link_error(Action::Configure, link, error)),
        }
    }

    /// Takes that back; content when there is nothing to take back.
    pub(in crate::net) async fn hear_no_more(
        &self,
        link: &str,
        mac: MacAddr,
    ) -> Result<(), NetError> {
        let Some(found) = self.find(link).await? else {
            return Ok(());
        };
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = found.index;
        message.header.flags = NeighbourFlags::Own;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let removed = self.handle.neighbours().del(message).execute().await;
        match removed.map_err(errno) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(link_error(Action::Configure, link, error))
            }
            _ => Ok(()),
        }
    }

    /// A link that carries nothing: a dummy, or where the kernel has none a bridge without ports. It stays down: its
    /// addresses are to be seen, not to be reached.
    pub(in crate::net) async fn ensure_stand_in(
        &self,
        name: &str,
        mac: MacAddr,
        mtu: u32,
        done: &mut Vec<Undo>,
    ) -> Result<u32, NetError> {
        if let Some(found) = self.find(name).await? {
            return match found.kind {
                Some(InfoKind::Dummy | InfoKind::Bridge) => Ok(found.index),
                kind => Err(NetError::Taken {
                    link: name.to_owned(),
                    property: "its kind",
                    found: kind.map_or_else(String::new, |kind| kind.to_string()),
                    wanted: InfoKind::Dummy.to_string(),
                }),
            };
        }
        let dummy = LinkDummy::new(name)
            .address(mac.0.to_vec())
            .mtu(mtu)
            .build();
        match self.add(dummy, Action::CreateStandIn, name).await {
            Err(NetError::Link { source, .. })
                if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                let bridge = LinkBridge::new(name)
                    .address(mac.0.to_vec())
                    .mtu(mtu)
                    .down()
                    .build();
                self.add(bridge, Action::CreateStandIn, name).await?;
            }
            made => made?,
        }
        done.push(Undo::DeleteLink(name.to_owned()));
        Ok(self.must_find(name).await?.index)
    }
}

//! Links, addresses and routes over rtnetlink: bridge, tap on its bridge, veth pair, and reading them.
//!
//! Each change first looks at what is there, so that doing it twice changes nothing, and notes how to take it
//! back when it did something.

mod port;
mod read;
mod saved;
mod vlan;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::task::JoinHandle;

use super::error::{Action, NetError};
use super::mac::MacAddr;
use super::plan::BridgePlan;
use super::undo::Undo;
use crate::host;
pub(super) use port::PortState;
pub use read::Found;
pub(super) use saved::Saved;

/// A connection to rtnetlink, of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The links of this network namespace with their addresses and IPv4 routes, by index.
///
/// # Errors
///
/// [`NetError::Socket`], [`NetError::Read`].
pub async fn read_links() -> Result<Vec<host::Link>, NetError> {
    Netlink::open()?.links().await
}

/// A link's new state; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    pub(super) up: Option<bool>,
    pub(super) mtu: Option<u32>,
    /// Index of the bridge; 0 releases the link.
    pub(super) controller: Option<u32>,
}

impl Netlink {
    /// Connects. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`NetError::Socket`].
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// Whether we may change links here: asked of the kernel by a change that changes nothing.
    ///
    /// The capability alone does not tell, since it counts in the user namespace that owns this network namespace.
    pub(super) async fn may_change(&self) -> Result<bool, NetError> {
        let loopback = LinkUnspec::new_with_index(1).build();
        match self
            .handle
            .link()
            .set(loopback)
            .execute()
            .await
            .map_err(errno)
        {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
            Err(source) => Err(link_error(Action::Configure, "lo", source)),
            Ok(()) => Ok(true),
        }
    }

    /// Makes the bridge, up, with its MAC address and MTU.
    pub(super) async fn ensure_bridge(
        &self,
        plan: &BridgePlan,
        mtu: u32,
        done: &mut Vec<Undo>,
    ) -> Result<u32, NetError> {
        if let Some(found) = self.find(&plan.name).await? {
            found.must_be_bridge(plan, mtu)?;
            if !found.up {
                self.set(&plan.name, found.index, State::up()).await?;
            }
            return Ok(found.index);
        }
        let message = LinkBridge::new(&plan.name)
            .address(plan.mac.0.to_vec())
            .build();
        self.add(message, Action::CreateBridge, &plan.name).await?;
        done.push(Undo::DeleteLink(plan.name.clone()));
        self.pin_mtu(&plan.name, mtu).await
    }

    /// A bridge takes the smallest MTU of its ports until somebody changes it (`br_mtu_auto_adjust`); one given at
    /// creation does not count as a change.
    async fn pin_mtu(&self, bridge: &str, mtu: u32) -> Result<u32, NetError> {
        let index = self.must_find(bridge).await?.index;
        let state = State {
            mtu: Some(mtu),
            ..State::default()
        };
        self.set(bridge, index, state).await?;
        Ok(index)
    }

    /// Puts the tap on the bridge, up, with the bridge's MTU.
    pub(super) async fn ensure_on_bridge(
        &self,
        tap: &str,
        bridge: u32,
        mtu: u32,
        done: &mut Vec<Undo>,
    ) -> Result<(), NetError> {
        let found = self.must_find(tap).await?;
        if found.controller == Some(bridge) && found.up && found.mtu == mtu {
            return Ok(());
        }
        if let Some(other) = found.controller.filter(|&index| index != bridge) {
            return Err(NetError::Taken {
                link: tap.to_owned(),
                property: "the index of its bridge",
                found: other.to_string(),
                wanted: bridge.to_string(),
            });
        }
        let state = State {
            up: Some(true),
            mtu: Some(mtu),
            controller: Some(bridge),
        };
        self.set(tap, found.index, state).await?;
        done.push(Undo::ReleaseTap {
            tap: tap.to_owned(),
            up: found.up,
            mtu: found.mtu,
        });
        Ok(())
    }

    /// Adds an address. An IPv6 one is usable at once: nobody else is on the link to collide with.
    pub(super) async fn ensure_address(
        &self,
        link: &str,
        index: u32,
        address: IpNet,
        done: &mut Vec<Undo>,
    ) -> Result<(), NetError> {
        let mut request = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await.map_err(errno) {
            Ok(()) => {
                done.push(Undo::RemoveAddress {
                    link: link.to_owned(),
                    address,
                });
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            Err(source) => Err(link_error(Action::AddAddress, link, source)),
        }
    }

    /// Removes an address; that link or address are gone is no error.
    pub(super) async fn remove_address(&self, link: &str, address: IpNet) -> Result<(), NetError> {
        let Some(found) = self.find(link).await? else {
            return Ok(());
        };
        let message = match address {
            IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(found.index)
                .address(net.addr(), net.prefix_len())
                .build(),
            IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(found.index)
                .address(net.addr(), net.prefix_len())
                .build(),
        };
        let result = self.handle.address().del(message).execute().await;
        unless_gone(result, Action::RemoveAddress, link)
    }

    /// Makes the default route of the gateway's family lead through it.
    pub(super) async fn set_default_route(
        &self,
        link: &str,
        index: u32,
        gateway: IpAddr,
    ) -> Result<(), NetError> {
        let route = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(gateway)
                .output_interface(index)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(gateway)
                .output_interface(index)
                .build(),
        };
        let request = self.handle.route().add(route).replace();
        let result = request.execute().await.map_err(errno);
        result.map_err(|source| link_error(Action::AddRoute, link, source))
    }

    /// Makes a veth pair whose `peer` (its name, state and namespace) is given as a link message.
    pub(super) async fn add_veth(
        &self,
        name: &str,
        mtu: u32,
        peer: LinkMessage,
    ) -> Result<(), NetError> {
        let message = LinkVeth::new(name, "")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(mtu)
            .up()
            .build();
        self.add(message, Action::CreateVeth, name).await
    }

    /// Deletes a link; that it is gone is no error.
    pub(super) async fn delete(&self, link: &str) -> Result<(), NetError> {
        let Some(found) = self.find(link).await? else {
            return Ok(());
        };
        let result = self.handle.link().del(found.index).execute().await;
        unless_gone(result, Action::Delete, link)
    }

    /// Changes a link's state; that it is gone is an error.
    pub(super) async fn set(&self, link: &str, index: u32, state: State) -> Result<(), NetError> {
        let mut message = LinkUnspec::new_with_index(index);
        if let Some(mtu) = state.mtu {
            message = message.mtu(mtu);
        }
        if let Some(controller) = state.controller {
            message = message.controller(controller);
        }
        message = match state.up {
            Some(true) => message.up(),
            Some(false) => message.down(),
            None => message,
        };
        let action = match state.controller {
            Some(0) => Action::Release,
            Some(_) => Action::Enslave,
            None => Action::Configure,
        };
        let result = self.handle.link().set(message.build()).execute().await;
        result.map_err(|error| link_error(action, link, errno(error)))
    }

    async fn add(&self, message: LinkMessage, action: Action, link: &str) -> Result<(), NetError> {
        let result = self.handle.link().add(message).execute().await;
        result.map_err(|error| link_error(action, link, errno(error)))
    }

    /// The link of this name.
    pub(super) async fn find(&self, link: &str) -> Result<Option<Found>, NetError> {
        let mut answer = Box::pin(self.handle.link().get().match_name(link).execute());
        match answer.try_next().await.map_err(errno) {
            Ok(message) => Ok(message.map(|message| Found::from(&message))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(source) => Err(NetError::Read {
                what: "links",
                source,
            }),
        }
    }

    pub(super) async fn must_find(&self, link: &str) -> Result<Found, NetError> {
        self.find(link).await?.ok_or_else(|| NetError::Missing {
            link: link.to_owned(),
        })
    }
}

impl State {
    pub(super) fn up() -> Self {
        Self {
            up: Some(true),
            ..Self::default()
        }
    }
}

impl Found {
    /// Nothing is made to fit: a bridge with other properties is somebody else's.
    pub(super) fn must_be_bridge(&self, plan: &BridgePlan, mtu: u32) -> Result<(), NetError> {
        let taken = |property, found: String, wanted: String| {
            Err(NetError::Taken {
                link: self.name.clone(),
                property,
                found,
                wanted,
            })
        };
        if self.kind != Some(InfoKind::Bridge) {
            let kind = self
                .kind
                .as_ref()
                .map_or_else(String::new, ToString::to_string);
            return taken("its kind", kind, "bridge".to_owned());
        }
        if self.mac != Some(plan.mac) {
            let mac = self
                .mac
                .as_ref()
                .map_or_else(String::new, MacAddr::to_string);
            return taken("its MAC address", mac, plan.mac.to_string());
        }
        if self.mtu != mtu {
            return taken("its MTU", self.mtu.to_string(), mtu.to_string());
        }
        Ok(())
    }
}

fn unless_gone(
    result: Result<(), rtnetlink::Error>,
    action: Action,
    link: &str,
) -> Result<(), NetError> {
    match result.map_err(errno) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENODEV | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(())
        }
        result => result.map_err(|source| link_error(action, link, source)),
    }
}

fn link_error(action: Action, link: &str, source: io::Error) -> NetError {
    NetError::Link {
        action,
        link: link.to_owned(),
        source,
    }
}

/// The kernel's errno, where the kernel answered.
fn errno(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

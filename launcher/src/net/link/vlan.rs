//! Ports of bridges that keep VLANs apart.

use rtnetlink::LinkBridgeVlan;
use rtnetlink::packet_route::link::BridgeVlanInfoFlags;

use super::{Netlink, errno, link_error};
use crate::net::error::{Action, NetError};

/// Every bridge puts new ports into it (`vlan_default_pvid`).
const DEFAULT: u16 = 1;

impl Netlink {
    /// Makes a bridge's port an untagged member of one VLAN, and of no other.
    pub(in crate::net) async fn join_vlan(
        &self,
        link: &str,
        port: u32,
        vlan: u16,
    ) -> Result<(), NetError> {
        let failed = |error| link_error(Action::JoinVlan, link, errno(error));
        let untagged = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let join = LinkBridgeVlan::new(port).vlan(vlan, untagged).build();
        let joined = self.handle.link().set(join).execute().await;
        joined.map_err(failed)?;
        if vlan == DEFAULT {
            return Ok(());
        }
        let none = BridgeVlanInfoFlags::empty();
        let leave = LinkBridgeVlan::new(port).vlan(DEFAULT, none).build();
        let left = self.handle.link().del_with_message(leave).execute().await;
        match left.map_err(errno) {
            // The bridge's default is another.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|source| link_error(Action::JoinVlan, link, source)),
        }
    }
}

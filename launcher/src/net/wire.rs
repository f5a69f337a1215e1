//! The other networks of a pod that a local run makes: what Multus does in a cluster.
//!
//! Each is a veth pair. The pod's end is named as KubeVirt names it and has no address; the machine's end hangs on a
//! bridge of the machine, or nowhere.

use std::fmt;
use std::os::fd::AsRawFd;
use std::str::FromStr;

use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::InfoKind;
use serde::{Deserialize, Serialize};

use super::error::NetError;
use super::link::{Netlink, State};
use super::veth::NetNs;

/// What an isolated network's links have.
const ISOLATED_MTU: u32 = 1500;
/// IEEE 802.1Q: 0 and 4095 are reserved.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// A bridge of this machine, as `BRIDGE` or `BRIDGE,vlan=ID`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBridge {
    /// The bridge's name.
    pub name: String,
    /// Its port is an untagged member of this VLAN alone, as the bridge CNI plugin's `vlan`.
    pub vlan: Option<u16>,
}

/// Not a bridge with or without a VLAN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHostBridge {
    /// No name.
    #[error("the bridge is missing: a network is given as NAME=BRIDGE or NAME=BRIDGE,vlan=ID")]
    NoName,
    /// Another option than `vlan`.
    #[error("`{0}` is no option of a bridge: there is `vlan=ID`")]
    Option(String),
    /// A number out of range.
    #[error("`{0}` is no VLAN: they are numbered from 1 to 4094")]
    Vlan(String),
}

impl FromStr for HostBridge {
    type Err = BadHostBridge;

    fn from_str(text: &str) -> Result<Self, BadHostBridge> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(BadHostBridge::NoName);
        }
        let mut bridge = Self { name, vlan: None };
        for part in parts {
            let id = part
                .strip_prefix("vlan=")
                .ok_or_else(|| BadHostBridge::Option(part.to_owned()))?;
            let vlan = id.parse().ok().filter(|vlan| VLANS.contains(vlan));
            bridge.vlan = Some(vlan.ok_or_else(|| BadHostBridge::Vlan(id.to_owned()))?);
        }
        Ok(bridge)
    }
}

impl fmt::Display for HostBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.vlan {
            Some(vlan) => write!(f, ",vlan={vlan}"),
            None => Ok(()),
        }
    }
}

/// One network of the pod besides its first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// The machine's end.
    pub host_link: String,
    /// The pod's end.
    pub pod_link: String,
    /// What the machine's end hangs on; on nothing, the guest is alone.
    pub bridge: Option<HostBridge>,
}

/// Makes the pair between this namespace and the pod's, with the bridge's MTU, and plugs it in.
///
/// # Errors
///
/// [`NetError::Missing`], [`NetError::NotABridge`], [`NetError::NoVlans`]: nothing was made. [`NetError::Link`]: what
/// was made of the pair is gone again.
pub async fn make(wire: &Wire, pod: NetNs<'_>) -> Result<(), NetError> {
    let netlink = Netlink::open()?;
    let bridge = match &wire.bridge {
        Some(bridge) => Some((netlink.host_bridge(bridge).await?, bridge)),
        None => None,
    };
    let mtu = bridge.map_or(ISOLATED_MTU, |((_, mtu), _)| mtu);
    let peer = LinkUnspec::new_with_name(&wire.pod_link).mtu(mtu);
    let peer = match pod {
        NetNs::Pid(pid) => peer.setns_by_pid(pid),
        NetNs::Fd(fd) => peer.setns_by_fd(fd.as_raw_fd()),
    };
    netlink.add_veth(&wire.host_link, mtu, peer.build()).await?;
    let Some(((index, _), bridge)) = bridge else {
        return Ok(());
    };
    let plugged = netlink.plug(&wire.host_link, index, bridge.vlan).await;
    if plugged.is_err() {
        netlink.delete(&wire.host_link).await?;
    }
    plugged
}

/// Within the pod's namespace: its end up.
///
/// # Errors
///
/// [`NetError::Missing`], [`NetError::Link`].
pub async fn bring_up(wire: &Wire) -> Result<(), NetError> {
    let netlink = Netlink::open()?;
    let link = netlink.must_find(&wire.pod_link).await?;
    netlink.set(&wire.pod_link, link.index, State::up()).await
}

impl Netlink {
    /// Index and MTU of a bridge that can do what is asked of it.
    async fn host_bridge(&self, wanted: &HostBridge) -> Result<(u32, u32), NetError> {
        let found = self.must_find(&wanted.name).await?;
        if found.kind != Some(InfoKind::Bridge) {
            return Err(NetError::NotABridge { link: found.name });
        }
        if wanted.vlan.is_some() && found.vlan_filtering != Some(true) {
            return Err(NetError::NoVlans { bridge: found.name });
        }
        Ok((found.index, found.mtu))
    }

    async fn plug(&self, link: &str, bridge: u32, vlan: Option<u16>) -> Result<(), NetError> {
        let port = self.must_find(link).await?.index;
        let state = State {
            controller: Some(bridge),
            ..State::default()
        };
        self.set(link, port, state).await?;
        match vlan {
            Some(vlan) => self.join_vlan(link, port, vlan).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_written_with_or_without_its_vlan() {
        for text in ["br1", "br1,vlan=100", "br1,vlan=4094"] {
            assert_eq!(text.parse::<HostBridge>().unwrap().to_string(), text);
        }
        for text in [
            "",
            ",vlan=1",
            "br1,vlan=0",
            "br1,vlan=4095",
            "br1,vlan=",
            "br1,mtu=9000",
            "br1,",
        ] {
            assert!(text.parse::<HostBridge>().is_err(), "{text}");
        }
    }
}

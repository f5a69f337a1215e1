//! Which of the pod's links carries the guest's network, and what is assumed where there is none.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::names;
use crate::host::{HostFacts, Link};
use crate::net::mac::MacAddr;

/// What a plan takes from the pod's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodNic {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    /// It has a global IPv4 address.
    pub(super) ipv4: bool,
    /// It has a global IPv6 address.
    pub(super) ipv6: bool,
}

impl PodNic {
    /// `eth0`, else the link that has the IPv4 default route.
    pub(super) fn find(facts: &HostFacts, uid: Uuid) -> Option<Self> {
        let named = facts.links.iter().find(|link| link.name == names::PRIMARY);
        let link = named.or_else(|| facts.links.iter().find(|link| has_default_route(link)))?;
        Some(Self {
            name: link.name.clone(),
            mac: link
                .mac
                .filter(|mac| mac.is_unicast())
                .unwrap_or_else(|| derived(uid)),
            mtu: link.mtu,
            ipv4: link.addresses.iter().any(|net| is_global4(*net)),
            ipv6: link.addresses6.iter().any(|net| is_global6(*net)),
        })
    }

    /// Stands in for a pod's NIC where there is no pod, as on a laptop.
    pub(super) fn assumed(uid: Uuid) -> Self {
        Self {
            name: names::PRIMARY.to_owned(),
            mac: derived(uid),
            mtu: 1500,
            ipv4: true,
            ipv6: false,
        }
    }
}

fn has_default_route(link: &Link) -> bool {
    link.routes
        .iter()
        .any(|route| route.destination.prefix_len() == 0)
}

/// Usable beyond the link; private ranges count.
fn is_global4(net: ipnet::Ipv4Net) -> bool {
    let address = net.addr();
    !(address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast())
}

/// As [`is_global4`]; unique local addresses count.
fn is_global6(net: ipnet::Ipv6Net) -> bool {
    let address = net.addr();
    !(address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address.is_unspecified())
}

/// The same VM gets the same address every time, with the local bit set and the group bit clear.
pub(super) fn derived(uid: Uuid) -> MacAddr {
    let digest = Sha256::digest(uid.as_bytes());
    let mut bytes = [0x02; 6];
    bytes[1..].copy_from_slice(&digest[..5]);
    MacAddr(bytes)
}

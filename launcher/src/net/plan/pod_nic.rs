//! Which of the pod's links carries an interface, who prepared it, and what is assumed where there is none.

use ipnet::{Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Setup, names};
use crate::host::{HostFacts, Link};
use crate::net::mac::MacAddr;
use crate::spec::nic::{Binding, Network, Nic};

/// What a plan takes from the pod's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodNic {
    /// As CNI named it.
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    /// Its addresses of both families that are usable beyond the link.
    pub(super) addresses: Vec<Ipv4Net>,
    pub(super) addresses6: Vec<Ipv6Net>,
    pub(super) setup: Setup,
    /// It is not there.
    pub(super) assumed: bool,
}

/// Names that are derived from the link's.
pub(super) struct Names {
    pub(super) bridge: String,
    pub(super) nic: String,
    pub(super) tap: String,
}

impl Names {
    pub(super) fn of(nic: &Nic, pod_link: &str) -> Self {
        Self {
            bridge: names::bridge(pod_link),
            nic: names::bridged_nic(pod_link),
            tap: match nic.network {
                Network::Primary { .. } => names::PRIMARY_TAP.to_owned(),
                Network::Secondary { .. } => names::secondary_tap(pod_link),
            },
        }
    }
}

impl PodNic {
    /// The link of the interface's network, or an assumption.
    pub(super) fn of(nic: &Nic, uid: Uuid, facts: &HostFacts) -> Self {
        match find(nic, facts) {
            Some((name, link)) => Self {
                setup: prepared(nic, &name, facts),
                mac: link
                    .mac
                    .filter(|mac| mac.is_unicast())
                    .unwrap_or_else(|| derived(uid, &name)),
                name,
                mtu: link.mtu,
                addresses: filtered(&link.addresses, is_global4),
                addresses6: filtered(&link.addresses6, is_global6),
                assumed: false,
            },
            None => Self::assumed(nic, uid),
        }
    }

    /// Stands in for a pod's NIC where there is no pod, as on a laptop.
    fn assumed(nic: &Nic, uid: Uuid) -> Self {
        let name = candidates(nic).swap_remove(0);
        let masqueraded = matches!(nic.binding, Binding::Masquerade { .. });
        Self {
            mac: derived(uid, &name),
            name,
            mtu: 1500,
            // Any will do: the guest gets one of its own.
            addresses: Vec::from_iter(
                masqueraded.then(|| Ipv4Net::new_assert([192, 0, 2, 2].into(), 24)),
            ),
            addresses6: Vec::new(),
            setup: Setup::Made,
            assumed: true,
        }
    }

    pub(super) fn ipv4(&self) -> bool {
        !self.addresses.is_empty()
    }

    pub(super) fn ipv6(&self) -> bool {
        !self.addresses6.is_empty()
    }
}

fn filtered<T: Copy>(all: &[T], keep: impl Fn(T) -> bool) -> Vec<T> {
    all.iter().copied().filter(|net| keep(*net)).collect()
}

/// Names that the link may have, the likeliest first.
fn candidates(nic: &Nic) -> Vec<String> {
    match &nic.network {
        Network::Primary { pod_link } => {
            vec![
                pod_link
                    .clone()
                    .unwrap_or_else(|| names::PRIMARY.to_owned()),
            ]
        }
        Network::Secondary { ordinal, .. } => {
            vec![names::secondary(&nic.name), names::ordinal(*ordinal)]
        }
    }
}

/// The link by its name; for the pod's first network also that which has the IPv4 default route.
fn find<'a>(nic: &Nic, facts: &'a HostFacts) -> Option<(String, &'a Link)> {
    let by_name = candidates(nic)
        .into_iter()
        .find_map(|name| Some((facts.link(&name)?, name)));
    if let Some((link, name)) = by_name {
        return Some((name, link));
    }
    let first = matches!(nic.network, Network::Primary { pod_link: None });
    let routed = || facts.links.iter().find(|link| link.has_default_route());
    let link = first.then(routed).flatten()?;
    Some((link.name.clone(), link))
}

/// Whether virt-handler has made all that the interface needs.
fn prepared(nic: &Nic, pod_link: &str, facts: &HostFacts) -> Setup {
    let names = Names::of(nic, pod_link);
    let is_port = |bridge: &Link, name: &str| {
        facts
            .link(name)
            .is_some_and(|link| link.controller == Some(bridge.index))
    };
    let all = facts.link(&names.bridge).is_some_and(|bridge| {
        is_port(bridge, &names.tap)
            && (nic.binding != Binding::Bridge || is_port(bridge, &names.nic))
    });
    if all { Setup::Found } else { Setup::Made }
}

/// Usable beyond the link; private ranges count.
fn is_global4(net: Ipv4Net) -> bool {
    let address = net.addr();
    !(address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast())
}

/// As [`is_global4`]; unique local addresses count.
fn is_global6(net: Ipv6Net) -> bool {
    let address = net.addr();
    !(address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address.is_unspecified())
}

/// The same link of the same VM gets the same address every time, with the local bit set and the group bit clear.
pub(super) fn derived(uid: Uuid, link: &str) -> MacAddr {
    let digest = Sha256::new()
        .chain_update(uid.as_bytes())
        .chain_update(link)
        .finalize();
    let mut bytes = [0x02; 6];
    bytes[1..].copy_from_slice(&digest[..5]);
    MacAddr(bytes)
}

//! The guest on the pod NIC's wire, with the pod's address (facts 7.4).

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::lease::{self, Wire};
use super::pod_nic::{Names, PodNic, derived};
use super::{BridgePlan, Bridged, BridgedVf, NicPlan, Setup, TapPlan, Wiring};
use crate::host::{HostFacts, Route, VifCache};
use crate::net::mac::MacAddr;
use crate::refusal::Notice;
use crate::spec::Spec;
use crate::spec::nic::Nic;

/// The DHCP server's address is in it: link-local, so that it is nobody's on the guest's wire.
const SERVERS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 75, 0), 24);

/// What the guest is to have of the pod's link.
#[derive(Default)]
struct Handed {
    mac: Option<MacAddr>,
    address: Option<Ipv4Net>,
    routes: Vec<Route>,
}

impl Handed {
    /// As the link has it, or as virt-handler noted it before it took it away.
    fn of(pod: &PodNic, facts: &HostFacts, nic: &Nic, notices: &mut Vec<Notice>) -> Self {
        if pod.setup == Setup::Found {
            if let Some(cache) = facts.vif_caches.get(&pod.name) {
                return Self::from(cache);
            }
            if pod.ipv4() {
                notices.push(Notice::new(
                    &nic.path,
                    format!(
                        "`{}` is bridged already, and there is no `vif-cache-{}.json` that tells its routes: the guest gets the address alone",
                        pod.name, pod.name
                    ),
                ));
            }
        }
        let routes = facts.link(&pod.name).map(|link| link.routes.clone());
        Self {
            mac: None,
            address: pod.addresses.first().copied(),
            routes: routes.unwrap_or_default(),
        }
    }
}

impl From<&VifCache> for Handed {
    fn from(cache: &VifCache) -> Self {
        Self {
            mac: cache.mac,
            address: cache.address,
            routes: cache.routes.clone(),
        }
    }
}

pub(super) fn plan(
    (index, nic): (usize, &Nic),
    pod: PodNic,
    tap: TapPlan,
    (spec, facts): (&Spec, &HostFacts),
    notices: &mut Vec<Notice>,
) -> NicPlan {
    let names = Names::of(nic, &pod.name);
    let handed = Handed::of(&pod, facts, nic, notices);
    if pod.ipv6() {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "the IPv6 address of the pod's `{}` is not handed to the guest: a bridge has no server for it, and the guest may take one from the network itself",
                pod.name
            ),
        ));
    }
    if pod.addresses.len() > 1 {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "the pod's `{}` has {} IPv4 addresses: the guest gets the first",
                pod.name,
                pod.addresses.len()
            ),
        ));
    }
    let found = (pod.setup == Setup::Found)
        .then(|| facts.link(&names.bridge))
        .flatten();
    let server = handed.address.map(|_| {
        found
            .and_then(|link| {
                link.addresses
                    .iter()
                    .copied()
                    .find(|net| SERVERS.contains(net))
            })
            .unwrap_or_else(|| server(index))
    });
    let bridge = BridgePlan {
        mac: found
            .and_then(|link| link.mac)
            .unwrap_or_else(|| derived(spec.identity.uid, &names.bridge)),
        name: names.bridge,
        address: server,
        address6: None,
    };
    let guest_mac = nic.mac.or(handed.mac).unwrap_or(pod.mac);
    let dhcp = handed.address.zip(server).map(|(address, server)| {
        let wire = Wire {
            link: &bridge.name,
            client: guest_mac,
            guest: address,
            server: server.addr(),
            router: default_gateway(&handed.routes),
            routes: classless(address, &handed.routes),
            mtu: pod.mtu,
        };
        lease::lease(wire, nic, &spec.identity, &facts.resolver, notices)
    });
    let vf = facts.link_vfs.get(&pod.name).map(BridgedVf::from);
    if let Some(vf) = &vf {
        notices.push(vf.notice(&nic.path, &pod.name));
    }
    let four = pod.addresses.iter().copied().map(IpNet::V4);
    let six = pod.addresses6.iter().copied().map(IpNet::V6);
    NicPlan {
        name: nic.name.clone(),
        guest_mac,
        mtu: pod.mtu,
        setup: pod.setup,
        tap,
        bridge,
        wiring: Wiring::Bridged(Bridged {
            nic: names.nic,
            pod_mac: pod.mac,
            addresses: four.chain(six).collect(),
            vf,
        }),
        dhcp,
        ipv6: None,
        pod_link: pod.name,
    }
}

/// KubeVirt's address of the interface's DHCP server: its place among the interfaces is written after `169.254.75.1`.
fn server(index: usize) -> Ipv4Net {
    // A guest has PCI slots for a third of what fits.
    let last = format!("1{index}").parse().unwrap_or(u8::MAX);
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 75, last), 32)
}

/// Of the default route, wherever it stands among the others.
fn default_gateway(routes: &[Route]) -> Option<Ipv4Addr> {
    let mut defaults = routes
        .iter()
        .filter(|route| route.destination.prefix_len() == 0);
    defaults.next()?.gateway
}

/// What the guest must be told besides its own network; a gateway outside of it is first made reachable (RFC 3442).
fn classless(address: Ipv4Net, routes: &[Route]) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let own = address.trunc();
    let mut told: Vec<(Ipv4Net, Ipv4Addr)> = Vec::new();
    let mut tell = |destination: Ipv4Net, gateway: Option<Ipv4Addr>| {
        // The first of several to one destination is the one the kernel prefers.
        if !told.iter().any(|(known, _)| *known == destination) {
            told.push((destination, gateway.unwrap_or(Ipv4Addr::UNSPECIFIED)));
        }
    };
    let on_link = |gateway: Ipv4Addr| {
        own.contains(&gateway)
            || routes.iter().any(|route| {
                route.gateway.is_none()
                    && route.destination.prefix_len() > 0
                    && route.destination.contains(&gateway)
            })
    };
    for gateway in routes.iter().filter_map(|route| route.gateway) {
        if !on_link(gateway) {
            tell(Ipv4Net::from(gateway), None);
        }
    }
    let (defaults, others): (Vec<_>, Vec<_>) = routes
        .iter()
        .partition(|route| route.destination.prefix_len() == 0);
    // On-link routes before those that need them, the default route last: clients set them in order.
    let (direct, indirect): (Vec<&Route>, Vec<&Route>) = others
        .into_iter()
        .partition(|route| route.gateway.is_none());
    for route in direct.into_iter().chain(indirect).chain(defaults) {
        if route.gateway.is_some() || route.destination != own {
            tell(route.destination, route.gateway);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(written: &[(&str, &str)]) -> Vec<Route> {
        let one = |(destination, gateway): &(&str, &str)| Route {
            destination: destination.parse().unwrap(),
            gateway: gateway.parse().ok(),
        };
        written.iter().map(one).collect()
    }

    fn told(address: &str, written: &[(&str, &str)]) -> Vec<String> {
        classless(address.parse().unwrap(), &routes(written))
            .iter()
            .map(|(to, via)| format!("{to} {via}"))
            .collect()
    }

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let listed = routes(&[
            ("10.244.0.0/16", "10.244.0.9"),
            ("10.244.0.0/24", ""),
            ("0.0.0.0/0", "10.244.0.1"),
        ]);
        assert_eq!(default_gateway(&listed), Some(Ipv4Addr::new(10, 244, 0, 1)));
        assert_eq!(default_gateway(&listed[..2]), None);
    }

    #[test]
    fn routes_are_told_in_an_order_in_which_they_can_be_set() {
        let listed = [
            ("0.0.0.0/0", "10.244.0.1"),
            ("10.9.0.0/16", "10.244.0.9"),
            ("10.244.0.0/24", ""),
        ];
        assert_eq!(
            told("10.244.0.5/24", &listed),
            ["10.9.0.0/16 10.244.0.9", "0.0.0.0/0 10.244.0.1"]
        );
        assert_eq!(told("10.244.0.5/24", &listed[2..]), [] as [&str; 0]);
    }

    #[test]
    fn a_gateway_outside_the_network_is_made_reachable() {
        let wanted = ["169.254.1.1/32 0.0.0.0", "0.0.0.0/0 169.254.1.1"];
        let calico = [("0.0.0.0/0", "169.254.1.1"), ("169.254.1.1/32", "")];
        assert_eq!(told("10.244.0.5/32", &calico), wanted);
        // Set with `onlink`, so that no route says it.
        assert_eq!(told("10.244.0.5/32", &calico[..1]), wanted);
    }

    #[test]
    fn a_default_route_without_a_gateway_is_on_link() {
        assert_eq!(
            told("10.0.0.1/32", &[("0.0.0.0/0", "")]),
            ["0.0.0.0/0 0.0.0.0"]
        );
    }

    #[test]
    fn each_server_has_its_own_address() {
        assert_eq!(server(0).to_string(), "169.254.75.10/32");
        assert_eq!(server(9).to_string(), "169.254.75.19/32");
        assert_eq!(server(10).to_string(), "169.254.75.110/32");
    }
}

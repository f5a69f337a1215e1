//! The guest behind NAT (facts 7.3).

use ipnet::{Ipv4Net, Ipv6Net};

use super::ipv6;
use super::lease::{self, Wire};
use super::pod_nic::{Names, PodNic};
use super::{BridgePlan, Istio, Masquerade, NicPlan, TapPlan, Wiring};
use crate::host::HostFacts;
use crate::net::mac::MacAddr;
use crate::refusal::Notice;
use crate::spec::Spec;
use crate::spec::nic::{Nic, Port};

/// Every masquerade bridge of KubeVirt has it: a guest that migrates keeps its gateway's address.
const BRIDGE_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0]);

/// What the VMI says of the NAT.
pub(super) struct Wanted<'a> {
    pub(super) cidr: Ipv4Net,
    pub(super) cidr6: Ipv6Net,
    pub(super) ports: &'a [Port],
    pub(super) istio: bool,
}

pub(super) fn plan(
    nic: &Nic,
    wanted: &Wanted<'_>,
    pod: PodNic,
    tap: TapPlan,
    (spec, facts): (&Spec, &HostFacts),
    notices: &mut Vec<Notice>,
) -> NicPlan {
    if !pod.ipv4() && !pod.ipv6() {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "the pod's `{}` has no global address: the guest gets none either",
                pod.name
            ),
        ));
    }
    let (gateway, guest) = first_two(wanted.cidr);
    let (gateway6, guest6) = first_two6(wanted.cidr6);
    let bridge = BridgePlan {
        name: Names::of(nic, &pod.name).bridge,
        mac: BRIDGE_MAC,
        address: pod.ipv4().then_some(gateway),
        address6: pod.ipv6().then_some(gateway6),
    };
    warn_of_overlap(&pod, &bridge, nic, facts, notices);
    let guest_mac = nic.mac.unwrap_or(pod.mac);
    let wire = Wire {
        link: &bridge.name,
        client: guest_mac,
        guest,
        server: gateway.addr(),
        router: Some(gateway.addr()),
        // A client that asks for option 121 ignores option 3 (RFC 3442), so the default route is in both.
        routes: vec![(Ipv4Net::default(), gateway.addr())],
        mtu: pod.mtu,
    };
    let dhcp = pod
        .ipv4()
        .then(|| lease::lease(wire, nic, &spec.identity, &facts.resolver, notices));
    let ipv6 = pod.ipv6().then(|| {
        let search = match &dhcp {
            Some(dhcp) => dhcp.search.clone(),
            None => lease::search(&facts.resolver, &spec.identity, nic, notices),
        };
        ipv6::plan(
            (&bridge.name, bridge.mac),
            (guest6, gateway6.addr()),
            (search, pod.mtu),
            nic,
            facts,
            notices,
        )
    });
    let istio = wanted.istio.then(|| Istio {
        pod: pod.addresses.first().map(Ipv4Net::addr),
    });
    NicPlan {
        name: nic.name.clone(),
        guest_mac,
        mtu: pod.mtu,
        setup: pod.setup,
        tap,
        bridge,
        wiring: Wiring::Masquerade(Masquerade {
            guest: pod.ipv4().then_some(guest),
            guest6: pod.ipv6().then_some(guest6),
            ports: wanted.ports.to_vec(),
            istio,
        }),
        dhcp,
        ipv6,
        pod_link: pod.name,
    }
}

/// Packets for one of the two networks would go to the other.
fn warn_of_overlap(
    pod: &PodNic,
    bridge: &BridgePlan,
    nic: &Nic,
    facts: &HostFacts,
    notices: &mut Vec<Notice>,
) {
    let links = || facts.links.iter().filter(|link| link.name != bridge.name);
    let overlaps4 = bridge.address.and_then(|ours| {
        links()
            .flat_map(|link| &link.addresses)
            .find(|theirs| ours.contains(&theirs.network()) || theirs.contains(&ours.network()))
            .map(|theirs| (ours.trunc().to_string(), theirs.to_string()))
    });
    let overlaps6 = bridge.address6.and_then(|ours| {
        links()
            .flat_map(|link| &link.addresses6)
            .find(|theirs| ours.contains(&theirs.network()) || theirs.contains(&ours.network()))
            .map(|theirs| (ours.trunc().to_string(), theirs.to_string()))
    });
    for (ours, theirs) in overlaps4.into_iter().chain(overlaps6) {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "the guest's network `{ours}` overlaps `{theirs}` of the pod, on or beside `{}`: one of them will not be reached; set another `vmNetworkCIDR` or `vmIPv6NetworkCIDR`",
                pod.name
            ),
        ));
    }
}

/// Gateway and guest: the first two hosts, each with the network's prefix.
fn first_two(cidr: Ipv4Net) -> (Ipv4Net, Ipv4Net) {
    let network = u32::from(cidr.network());
    let host =
        |number: u32| Ipv4Net::new_assert(network.wrapping_add(number).into(), cidr.prefix_len());
    (host(1), host(2))
}

/// As [`first_two`].
fn first_two6(cidr: Ipv6Net) -> (Ipv6Net, Ipv6Net) {
    let network = u128::from(cidr.network());
    let host =
        |number: u128| Ipv6Net::new_assert(network.wrapping_add(number).into(), cidr.prefix_len());
    (host(1), host(2))
}

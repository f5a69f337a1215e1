//! From the VMI's interfaces and the pod's links to a [`NetworkPlan`].

use ipnet::{Ipv4Net, Ipv6Net};

use super::lease::{self, Wire};
use super::pod_nic::PodNic;
use super::{BridgePlan, Masquerade, NetworkPlan, NicPlan, TapPlan, names};
use crate::host::HostFacts;
use crate::net::mac::MacAddr;
use crate::refusal::{Notice, Violation};
use crate::spec::Spec;
use crate::spec::nic::{Binding, Nic, NicModel};

/// Every masquerade bridge of KubeVirt has it: a guest that migrates keeps its gateway's address.
const BRIDGE_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0]);

/// The links, addresses, rules and leases that `spec` needs in this pod.
///
/// Where the facts have no pod NIC the plan is made with assumptions, and a notice says so.
///
/// # Errors
///
/// All violations: an address range too small for gateway and guest, a second masquerade interface.
pub fn plan(spec: &Spec, facts: &HostFacts) -> Result<(NetworkPlan, Vec<Notice>), Vec<Violation>> {
    let violations = violations(spec);
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut notices = Vec::new();
    let nics = spec
        .nics
        .iter()
        .map(|nic| plan_nic(nic, spec, facts, &mut notices))
        .collect();
    Ok((NetworkPlan { nics }, notices))
}

fn violations(spec: &Spec) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, nic) in spec.nics.iter().enumerate() {
        let Binding::Masquerade { cidr, cidr6, .. } = &nic.binding;
        if index > 0 {
            violations.push(Violation::new(
                &nic.path,
                format!("`{}` is a second interface on the pod's network", nic.name),
                "keep one masquerade interface",
            ));
        }
        if cidr.prefix_len() > 30 {
            violations.push(too_small(nic, "vmNetworkCIDR", &cidr.to_string()));
        }
        if cidr6.prefix_len() > 126 {
            violations.push(too_small(nic, "vmIPv6NetworkCIDR", &cidr6.to_string()));
        }
    }
    violations
}

fn too_small(nic: &Nic, field: &str, cidr: &str) -> Violation {
    Violation::new(
        &nic.path,
        format!("{field} `{cidr}` has no room for a gateway and a guest"),
        "leave at least two bits for hosts",
    )
}

fn plan_nic(nic: &Nic, spec: &Spec, facts: &HostFacts, notices: &mut Vec<Notice>) -> NicPlan {
    let Binding::Masquerade { cidr, cidr6, ports } = &nic.binding;
    let pod = pod_nic(nic, spec, facts, notices);
    let (gateway, guest) = first_two(*cidr);
    let (gateway6, guest6) = first_two6(*cidr6);
    let bridge = BridgePlan {
        name: names::bridge(&pod.name),
        mac: BRIDGE_MAC,
        address: pod.ipv4.then_some(gateway),
        address6: pod.ipv6.then_some(gateway6),
    };
    warn_of_overlap(&pod, &bridge, nic, facts, notices);
    let guest_mac = nic.mac.unwrap_or(pod.mac);
    let wire = Wire {
        link: &bridge.name,
        client: guest_mac,
        guest,
        gateway: gateway.addr(),
        mtu: pod.mtu,
    };
    let dhcp = pod
        .ipv4
        .then(|| lease::lease(wire, nic, &spec.identity, &facts.resolver, notices));
    NicPlan {
        name: nic.name.clone(),
        pod_link: pod.name,
        guest_mac,
        mtu: pod.mtu,
        tap: tap(nic, facts),
        bridge,
        masquerade: Masquerade {
            guest: pod.ipv4.then_some(guest),
            guest6: pod.ipv6.then_some(guest6),
            ports: ports.clone(),
        },
        dhcp,
    }
}

/// The pod's NIC, or an assumption with a notice.
fn pod_nic(nic: &Nic, spec: &Spec, facts: &HostFacts, notices: &mut Vec<Notice>) -> PodNic {
    let Some(found) = PodNic::find(facts, spec.identity.uid) else {
        let assumed = PodNic::assumed(spec.identity.uid);
        notices.push(Notice::new(
            &nic.path,
            format!(
                "there is no pod NIC here: planned for `{}` with MTU {}, MAC address `{}` and IPv4 only",
                assumed.name, assumed.mtu, assumed.mac
            ),
        ));
        return assumed;
    };
    if !found.ipv4 && !found.ipv6 {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "the pod's `{}` has no global address: the guest gets none either",
                found.name
            ),
        ));
    }
    found
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

/// Only virtio has queues, and only it can be carried by vhost.
fn tap(nic: &Nic, facts: &HostFacts) -> TapPlan {
    let virtio = nic.model == NicModel::Virtio;
    TapPlan {
        name: names::PRIMARY_TAP.to_owned(),
        queues: if virtio { nic.queues.max(1) } else { 1 },
        vhost: virtio && facts.vhost_net,
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

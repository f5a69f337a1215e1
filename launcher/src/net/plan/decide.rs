//! From the VMI's interfaces and the pod's links to a [`NetworkPlan`].

use super::masquerade::Wanted;
use super::pod_nic::{Names, PodNic};
use super::{NetworkPlan, NicPlan, TapPlan, bridged, masquerade};
use crate::host::HostFacts;
use crate::refusal::{Notice, Violation};
use crate::spec::Spec;
use crate::spec::nic::{Binding, Network, Nic, NicModel};

/// The links, addresses, rules and leases that `spec` needs in this pod.
///
/// Where the facts have no pod NIC the plan is made with assumptions, and a notice says so.
///
/// # Errors
///
/// All violations: an address range too small for gateway and guest, a second interface on the pod's network.
pub fn plan(spec: &Spec, facts: &HostFacts) -> Result<(NetworkPlan, Vec<Notice>), Vec<Violation>> {
    let violations = violations(spec);
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut notices = Vec::new();
    let nics = spec
        .nics
        .iter()
        .enumerate()
        .map(|nic| plan_nic(nic, spec, facts, &mut notices))
        .collect();
    Ok((NetworkPlan { nics }, notices))
}

fn violations(spec: &Spec) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut primaries = 0;
    for nic in &spec.nics {
        primaries += usize::from(matches!(nic.network, Network::Primary { .. }));
        if primaries > 1 {
            violations.push(Violation::new(
                &nic.path,
                format!("`{}` is a second interface on the pod's network", nic.name),
                "keep one of them",
            ));
            primaries = 1;
        }
        let Binding::Masquerade { cidr, cidr6, .. } = &nic.binding else {
            continue;
        };
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

fn plan_nic(
    (index, nic): (usize, &Nic),
    spec: &Spec,
    facts: &HostFacts,
    notices: &mut Vec<Notice>,
) -> NicPlan {
    let pod = PodNic::of(nic, spec.identity.uid, facts);
    if pod.assumed {
        notices.push(assumption(nic, &pod));
    }
    let tap = tap(nic, &pod.name, facts);
    match &nic.binding {
        Binding::Masquerade {
            cidr,
            cidr6,
            ports,
            istio,
        } => {
            let wanted = Wanted {
                cidr: *cidr,
                cidr6: *cidr6,
                ports,
                istio: *istio,
            };
            masquerade::plan(nic, &wanted, pod, tap, (spec, facts), notices)
        }
        Binding::Bridge => bridged::plan((index, nic), pod, tap, (spec, facts), notices),
    }
}

fn assumption(nic: &Nic, pod: &PodNic) -> Notice {
    let whose = match &nic.network {
        Network::Primary { .. } => "there is no pod NIC here".to_owned(),
        Network::Secondary { definition, .. } => {
            format!("there is no link of the network `{definition}` here")
        }
    };
    let addresses = if pod.ipv4() {
        "IPv4 only"
    } else {
        "no address"
    };
    Notice::new(
        &nic.path,
        format!(
            "{whose}: planned for `{}` with MTU {}, MAC address `{}` and {addresses}",
            pod.name, pod.mtu, pod.mac
        ),
    )
}

/// Only virtio has queues, and only it can be carried by vhost.
fn tap(nic: &Nic, pod_link: &str, facts: &HostFacts) -> TapPlan {
    let virtio = nic.model == NicModel::Virtio;
    TapPlan {
        name: Names::of(nic, pod_link).tap,
        queues: if virtio { nic.queues.max(1) } else { 1 },
        vhost: virtio && facts.vhost_net,
    }
}

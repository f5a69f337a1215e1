//! The pod's networks besides its first: what Multus and its plugins make in a cluster.

use crate::net::address::PodBlock;
use crate::net::plan::secondary_link;
use crate::net::wire::{HostBridge, Wire};

/// A network by the VMI's name of it, and the machine's bridge behind it; none for a guest that is alone on it.
pub type Behind = (String, Option<HostBridge>);

/// The links of every network.
pub(super) fn wires(networks: &[Behind], block: PodBlock) -> Vec<Wire> {
    let one = |(number, (name, bridge)): (usize, &Behind)| Wire {
        host_link: block.other_link_name(number),
        pod_link: secondary_link(name),
        bridge: bridge.clone(),
    };
    (1..).zip(networks).map(one).collect()
}

/// One line a network.
pub(super) fn tell(networks: &[Behind], wires: &[Wire]) {
    for ((name, bridge), wire) in networks.iter().zip(wires) {
        let link = &wire.host_link;
        match bridge {
            Some(bridge) => tracing::info!(
                event = "network-made",
                network = name,
                "network: {name} is on {bridge} (host side {link})"
            ),
            None => tracing::info!(
                event = "network-made",
                network = name,
                "network: {name} leads nowhere (host side {link}); --network {name}=BRIDGE puts it on a bridge"
            ),
        }
    }
}

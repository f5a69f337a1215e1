//! Passed-through devices, as placement sees them.

use std::cmp::Reverse;

use numa::NodeId;

use crate::host::HostFacts;
use crate::passthrough::plan::PassthroughPlan;
use crate::placement::{DevicePlacement, GuestNode};

/// A device of the host's that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The VMI's name for it.
    pub name: String,
    /// Its JSON path in the VMI.
    pub path: String,
    /// Host PCI address.
    pub address: String,
    /// Host node, where known.
    pub node: Option<NodeId>,
}

/// What a VM is to be near to.
pub fn near(plan: &PassthroughPlan) -> Vec<DeviceFacts> {
    let near = plan.devices.iter().map(|device| DeviceFacts {
        name: device.name.clone(),
        path: device.path.clone(),
        address: device.device.to_string(),
        node: device.host_node.map(NodeId),
    });
    near.collect()
}

/// The devices' nodes, each once: first the one with the most of the pod's CPUs, then by number.
pub(super) fn nodes(devices: &[DeviceFacts], facts: &HostFacts) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = devices.iter().filter_map(|device| device.node).collect();
    nodes.sort_by_key(|node| {
        let there = facts.topology.nodes.get(node);
        let cpus = there.map_or(0, |there| there.cpus.intersection(&facts.cpus).len());
        (Reverse(cpus), *node)
    });
    nodes.dedup();
    nodes
}

/// Devices in the plan: on the guest node whose memory is their host node's. `cells` are the host nodes of the guest's
/// nodes, empty where the guest sees none.
pub(super) fn placed(
    devices: &[DeviceFacts],
    cells: &[Option<NodeId>],
    guest: &[GuestNode],
) -> Vec<DevicePlacement> {
    let seen_on = |device: &DeviceFacts| {
        let index = cells
            .iter()
            .position(|cell| device.node.is_some() && *cell == device.node)?;
        guest.get(index).map(|node| node.id)
    };
    devices
        .iter()
        .map(|device| DevicePlacement {
            name: device.name.clone(),
            address: device.address.clone(),
            host_node: device.node.map(|node| node.0),
            guest_node: seen_on(device),
        })
        .collect()
}

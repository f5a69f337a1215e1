//! Policy `strict`: one node for everything, or a guest node for each device's, and no core shared with others.

use numa::{CpuSet, NodeId};

use super::devices::{self, DeviceFacts};
use super::memory;
use super::misfit::Misfit;
use super::pins::{Demand, Pins, near};
use super::pool::nodes_by_cpu;
use crate::host::HostFacts;
use crate::spec::Spec;

pub(super) fn pins(
    spec: &Spec,
    demand: &Demand,
    facts: &HostFacts,
    devices: &[DeviceFacts],
) -> Result<Pins, Vec<Misfit>> {
    let mut misfits: Vec<Misfit> = devices.iter().filter_map(unknown).collect();
    if facts.topology.cpus.is_subset(&facts.cpus) {
        misfits.push(Misfit::StrictEveryCpu {
            cpus: facts.cpus.clone(),
        });
    }
    let own = own_cores(facts);
    let wanted = demand.cpus() + usize::from(demand.even);
    if own.len() < wanted && misfits.is_empty() {
        misfits.push(Misfit::StrictShared {
            shared: facts.cpus.difference(&own),
            rest: own.len(),
            wanted,
        });
    }
    if !spec.cpu.numa_passthrough {
        misfits.extend(apart(devices));
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let pins = if spec.cpu.numa_passthrough {
        in_cells(demand, facts, &own, devices)
    } else {
        at_home(spec, demand, facts, &own, devices)
    };
    pins.map_err(|misfit| vec![misfit])
}

fn unknown(device: &DeviceFacts) -> Option<Misfit> {
    device.node.is_none().then(|| Misfit::StrictUnknown {
        device: device.address.clone(),
        path: device.path.clone(),
    })
}

/// A device that is on another node than the first.
fn apart(devices: &[DeviceFacts]) -> Option<Misfit> {
    let first = devices.first()?.node?;
    let other = devices.iter().find(|device| device.node != Some(first))?;
    Some(Misfit::StrictDevices {
        node: other.node?,
        other: first,
        device: other.address.clone(),
        path: other.path.clone(),
    })
}

/// The pod's CPUs whose siblings are the pod's too.
fn own_cores(facts: &HostFacts) -> CpuSet {
    let cores = facts.topology.cores.iter();
    let whole = cores.filter(|core| core.is_subset(&facts.cpus));
    whole.flat_map(CpuSet::iter).collect()
}

/// Everything on the devices' node; without devices on the first where it fits, and where its memory fits too.
fn at_home(
    spec: &Spec,
    demand: &Demand,
    facts: &HostFacts,
    own: &CpuSet,
    devices: &[DeviceFacts],
) -> Result<Pins, Misfit> {
    let wanted = demand.cpus() + usize::from(demand.even);
    let nodes = &facts.topology.nodes;
    if nodes.is_empty() {
        return near(demand, facts, own, &[]);
    }
    let on = |node: NodeId| {
        nodes
            .get(&node)
            .map(|there| there.cpus.intersection(own))
            .unwrap_or_default()
    };
    let device_node = devices::nodes(devices, facts).first().copied();
    let candidates: Vec<NodeId> = match device_node {
        Some(node) => vec![node],
        None => nodes.keys().copied().collect(),
    };
    let fits: Vec<NodeId> = candidates
        .into_iter()
        .filter(|node| on(*node).len() >= wanted)
        .collect();
    let home = fits
        .iter()
        .find(|node| memory::fits_on(spec, facts, **node))
        .or(fits.first());
    let Some(home) = home else {
        let counts: Vec<String> = nodes
            .keys()
            .map(|node| (node, on(*node).len()))
            .filter(|(_, count)| *count > 0)
            .map(|(node, count)| format!("{count} on node {}", node.0))
            .collect();
        return Err(Misfit::StrictOneNode {
            wanted,
            what: demand.words(),
            where_: device_node
                .map(|node| format!(" ({}, where the devices are)", node.0))
                .unwrap_or_default(),
            has: counts.join(", "),
        });
    };
    near(demand, facts, &on(*home), &[])
}

/// A guest node for each device's node; other threads on nodes that the guest has.
fn in_cells(
    demand: &Demand,
    facts: &HostFacts,
    own: &CpuSet,
    devices: &[DeviceFacts],
) -> Result<Pins, Misfit> {
    let wanted = devices::nodes(devices, facts);
    let pins = near(demand, facts, own, &wanted)?;
    let cell_of = |node: Option<NodeId>| pins.nodes.contains(&node);
    if let Some(device) = devices.iter().find(|device| !cell_of(device.node))
        && let Some(node) = device.node
    {
        return Err(Misfit::StrictNoCell {
            node,
            device: device.address.clone(),
            path: device.path.clone(),
        });
    }
    let node_of = nodes_by_cpu(&facts.topology);
    let others = pins.supplemental.iter().chain(&pins.emulator).copied();
    let elsewhere: CpuSet = others
        .filter(|cpu| !cell_of(node_of.get(cpu).copied()))
        .collect();
    if elsewhere.is_empty() {
        Ok(pins)
    } else {
        Err(Misfit::StrictElsewhere { cpus: elsewhere })
    }
}

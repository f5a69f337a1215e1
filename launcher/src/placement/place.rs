//! [`place`]: from what is asked and what is here to who runs where.

use numa::NodeId;

use super::cells::cells;
use super::devices::{self, DeviceFacts};
use super::fill::fill;
use super::iothreads::iothreads;
use super::memory::{Layout, listed, memory};
use super::misfit::Misfit;
use super::pins::{Pins, pins};
use super::pool::nodes_by_cpu;
use crate::host::HostFacts;
use crate::placement::{Placement, Policy, Realtime, VcpuPlacement};
use crate::refusal::Violation;
use crate::spec::Spec;

/// Above this, APIC ids need an emulated IOMMU, which no VMI asks for.
const MOST_VCPUS: u32 = 255;

/// `sched_priority` of real-time vCPUs, the lowest there is: the host's own real-time threads go first.
const REALTIME_PRIORITY: u32 = 1;

/// Places a VM that gets these devices.
///
/// # Errors
/// Everything that does not fit, each with the VMI's field that asked for it.
pub fn place(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
) -> Result<Placement, Vec<Violation>> {
    let placed = place_near(spec, facts, devices);
    let vcpus = spec.cpu.vcpus();
    if vcpus <= MOST_VCPUS {
        return placed;
    }
    let mut violations = placed.err().unwrap_or_default();
    let most = MOST_VCPUS;
    violations.push(Misfit::ManyVcpus { vcpus, most }.into());
    Err(violations)
}

/// Places a VM that gets these devices, however many vCPUs QEMU has numbers for.
///
/// # Errors
/// As [`place`].
pub fn place_near(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
) -> Result<Placement, Vec<Violation>> {
    let mut misfits = misfits(spec, facts);
    let placed = if facts.cpus.is_empty() {
        Err(Vec::new())
    } else {
        decide(spec, facts, devices)
    };
    match placed {
        Ok(placement) if misfits.is_empty() => Ok(placement),
        placed => {
            misfits.extend(placed.err().unwrap_or_default());
            Err(misfits.into_iter().map(Violation::from).collect())
        }
    }
}

fn decide(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
) -> Result<Placement, Vec<Misfit>> {
    let policy = spec.placement.policy;
    if policy == Policy::Strict && !spec.cpu.dedicated {
        return Err(vec![Misfit::StrictFloating]);
    }
    let pins = spec
        .cpu
        .dedicated
        .then(|| pins(spec, facts, devices))
        .transpose()?;
    let layout = match (&pins, spec.memory.hugepages) {
        (Some(pins), Some(size)) if spec.cpu.numa_passthrough => cells(spec, facts, pins, size)?,
        _ => memory(spec, facts, devices, pins.as_ref()).map_err(|misfit| vec![misfit])?,
    };
    let notes = notes(spec, facts, devices, pins.as_ref(), &layout);
    Ok(Placement {
        policy,
        vcpus: vcpus(spec, facts, pins.as_ref()),
        emulator: pins.as_ref().and_then(emulator),
        iothreads: iothreads(spec, facts, pins.as_ref()),
        devices: devices::placed(devices, &layout.cells, &layout.guest),
        notes,
        dedicated: spec.cpu.dedicated,
        realtime: spec.cpu.realtime.as_ref().map(|vcpus| Realtime {
            vcpus: vcpus.to_string(),
            priority: REALTIME_PRIORITY,
        }),
        guest_nodes: layout.guest,
        binding: layout.binding,
        fill: fill(&layout.rows, facts),
        memory: layout.rows,
    })
}

fn misfits(spec: &Spec, facts: &HostFacts) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    if facts.cpus.is_empty() {
        misfits.push(Misfit::NoCpu);
    }
    // Huge pages are not counted there: hugetlb has limits of its own.
    if let Some(limit) = facts.memory_limit
        && spec.memory.hugepages.is_none()
        && spec.memory.guest > limit
    {
        misfits.push(Misfit::MemoryLimit {
            guest: spec.memory.guest,
            limit,
        });
    }
    if spec.cpu.realtime.is_some() && !facts.realtime {
        misfits.push(Misfit::NoRealtime);
    }
    misfits
}

fn vcpus(spec: &Spec, facts: &HostFacts, pins: Option<&Pins>) -> Vec<VcpuPlacement> {
    let floating = facts.cpus.to_string();
    (0..spec.cpu.vcpus())
        .map(|vcpu| {
            let index = usize::try_from(vcpu).unwrap_or(usize::MAX);
            let pinned = pins.and_then(|pins| pins.vcpus.get(index));
            VcpuPlacement {
                vcpu,
                cpus: pinned.map_or_else(|| floating.clone(), ToString::to_string),
            }
        })
        .collect()
}

fn emulator(pins: &Pins) -> Option<String> {
    let cpus: numa::CpuSet = pins.emulator.iter().copied().collect();
    (!cpus.is_empty()).then(|| cpus.to_string())
}

fn notes(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
    pins: Option<&Pins>,
    layout: &Layout,
) -> Vec<String> {
    let mut notes: Vec<String> = facts
        .disagreements
        .iter()
        .map(ToString::to_string)
        .collect();
    match pins {
        Some(pins) => {
            notes.extend(pins.notes.iter().cloned());
            notes.extend(spread(spec, devices, pins));
            notes.extend(emulator_elsewhere(facts, pins));
            notes.extend(realtime_shared(spec));
        }
        None => notes.extend(shared(spec, facts)),
    }
    if spec.placement.policy != Policy::None {
        notes.extend(
            devices
                .iter()
                .filter(|device| device.node.is_none())
                .map(|device| {
                    format!(
                        "the host does not tell the node of `{}`: nothing is placed by it",
                        device.address
                    )
                }),
        );
    }
    notes.extend(layout.notes.iter().cloned());
    notes
}

fn shared(spec: &Spec, facts: &HostFacts) -> Option<String> {
    let vcpus = usize::try_from(spec.cpu.vcpus()).unwrap_or(usize::MAX);
    let cpus = facts.cpus.len();
    (vcpus > cpus).then(|| format!("{vcpus} vCPUs share {cpus} CPUs"))
}

/// vCPUs that are not where the devices are, or apart from each other where the guest does not see it.
fn spread(spec: &Spec, devices: &[DeviceFacts], pins: &Pins) -> Option<String> {
    let mut on: Vec<NodeId> = pins.nodes.iter().flatten().copied().collect();
    on.sort_unstable();
    on.dedup();
    let mut wanted: Vec<NodeId> = devices.iter().filter_map(|device| device.node).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let near = pins
        .nodes
        .iter()
        .flatten()
        .filter(|node| wanted.contains(node))
        .count();
    let all = pins.vcpus.len();
    if !wanted.is_empty() && near == 0 {
        return Some(format!(
            "vCPUs are on {}, the devices on {}",
            listed(&on),
            listed(&wanted)
        ));
    }
    if !wanted.is_empty() && near < all {
        return Some(format!(
            "{near} of {all} vCPUs are on {}, where the devices are, the others on {}",
            listed(&wanted),
            listed(
                &on.into_iter()
                    .filter(|node| !wanted.contains(node))
                    .collect::<Vec<_>>()
            )
        ));
    }
    (on.len() > 1 && !spec.cpu.numa_passthrough)
        .then(|| format!("vCPUs are on {}, and the guest sees one", listed(&on)))
}

fn emulator_elsewhere(facts: &HostFacts, pins: &Pins) -> Option<String> {
    let node_of = nodes_by_cpu(&facts.topology);
    let mut away: Vec<NodeId> = pins
        .emulator
        .iter()
        .filter_map(|cpu| node_of.get(cpu).copied())
        .filter(|node| !pins.nodes.contains(&Some(*node)))
        .collect();
    away.dedup();
    (!away.is_empty()).then(|| format!("the emulator is on {}, where no vCPU is", listed(&away)))
}

/// A real-time vCPU gives its CPU up only when it sleeps.
fn realtime_shared(spec: &Spec) -> Option<String> {
    let shares = spec.cpu.realtime.is_some() && !spec.cpu.isolate_emulator;
    shares.then(|| {
        "QEMU's own threads share CPUs with real-time vCPUs, which keep them waiting: `isolateEmulatorThread` gives them one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;

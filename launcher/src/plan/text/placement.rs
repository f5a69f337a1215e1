//! Who runs where, for people.

use std::fmt::{self, Write};

use hugepages::Bytes;
use numa::CpuSet;

use crate::placement::{Binding, DevicePlacement, MemoryPlacement, Placement};

/// Only what was decided: vCPUs that run anywhere take one line.
pub(super) fn write(out: &mut String, placement: &Placement) -> fmt::Result {
    writeln!(out, "  policy {}", placement.policy.name())?;
    vcpus(out, placement)?;
    if let Some(realtime) = &placement.realtime {
        let (vcpus, priority) = (&realtime.vcpus, realtime.priority);
        writeln!(out, "  vcpus {vcpus}: SCHED_FIFO, priority {priority}")?;
    }
    if let Some(cpus) = &placement.emulator {
        writeln!(out, "  emulator: cpus {cpus}")?;
    }
    for thread in &placement.iothreads {
        writeln!(out, "  iothread {}: cpus {}", thread.id, thread.cpus)?;
    }
    for node in &placement.guest_nodes {
        let distances: Vec<String> = node.distances.iter().map(ToString::to_string).collect();
        let (id, vcpus) = (node.id, &node.vcpus);
        writeln!(
            out,
            "  guest node {id}: vcpus {vcpus}, distances {}",
            distances.join(" ")
        )?;
    }
    for row in &placement.memory {
        memory(out, row, placement.binding)?;
    }
    for fill in &placement.fill {
        let node = fill
            .host_node
            .map_or(String::new(), |node| format!(" of host node {node}"));
        writeln!(out, "  pages{node}: filled from cpus {}", fill.cpus)?;
    }
    for device in &placement.devices {
        seen(out, device)?;
    }
    for note in &placement.notes {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

fn vcpus(out: &mut String, placement: &Placement) -> fmt::Result {
    if placement.dedicated {
        for vcpu in &placement.vcpus {
            writeln!(out, "  vcpu {}: cpu {}", vcpu.vcpu, vcpu.cpus)?;
        }
        return Ok(());
    }
    match placement.vcpus.first() {
        Some(first) => {
            let all: CpuSet = placement.vcpus.iter().map(|vcpu| vcpu.vcpu).collect();
            let word = if all.len() == 1 { "vcpu" } else { "vcpus" };
            writeln!(out, "  {word} {all}: cpus {}", first.cpus)
        }
        None => Ok(()),
    }
}

fn memory(out: &mut String, row: &MemoryPlacement, binding: Binding) -> fmt::Result {
    write!(
        out,
        "  memory of guest node {}: {}",
        row.guest_node,
        Bytes(row.bytes)
    )?;
    if let Some(size) = &row.page_size {
        write!(out, " in pages of {size}")?;
    }
    match (row.host_node, binding) {
        (None, _) | (_, Binding::None) => writeln!(out, ", where the kernel finds it"),
        (Some(node), Binding::Bind) => writeln!(out, ", bound to host node {node}"),
        (Some(node), Binding::FirstTouch) => writeln!(out, ", first touched on host node {node}"),
    }
}

fn seen(out: &mut String, device: &DevicePlacement) -> fmt::Result {
    write!(out, "  device {}: {}", device.name, device.address)?;
    if let Some(node) = device.host_node {
        write!(out, ", host node {node}")?;
    }
    if let Some(node) = device.guest_node {
        write!(out, ", guest node {node}")?;
    }
    writeln!(out)
}

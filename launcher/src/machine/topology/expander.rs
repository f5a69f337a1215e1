//! Devices that the guest is to see on a NUMA node of its own: below an expander bus (`pxb-pcie`) of that node, each in
//! a root port of its own (QEMU `docs/pcie.txt`).

use std::collections::BTreeMap;

use crate::machine::device::{Connect, Device};
use crate::machine::topology::LAST_BUS;
use crate::refusal::Violation;

/// Buses of a PCI domain.
const BUSES: usize = 256;
/// Root ports that one expander's bus has slots for.
const SLOTS: usize = 32;

/// Expanders with their root ports, and the root port of each device that is below one.
pub(super) struct Expanders {
    /// Buses before what is on them.
    pub(super) controllers: Vec<Device>,
    /// By the device's position.
    pub(super) ports: BTreeMap<usize, String>,
}

/// One expander a guest node, in the slots of the root complex that `free_slot` gives.
///
/// Firmware numbers the buses below an expander upwards from its own, so each begins as far below the one before as it
/// has ports; the first ends at 255, as KubeVirt has it, out of the way of the root complex's own.
pub(super) fn expanders(
    devices: &[Device],
    mut free_slot: impl FnMut() -> Option<u8>,
) -> Result<Expanders, Vec<Violation>> {
    let mut by_node: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, device) in devices.iter().enumerate() {
        if let Connect::Node(node) = device.connect {
            by_node.entry(node).or_default().push(index);
        }
    }
    let full = || {
        vec![Violation::new(
            "spec.domain.devices",
            "more passed-through devices than the guest has PCI buses for",
            "fewer devices with a NUMA node",
        )]
    };
    let mut controllers = Vec::new();
    let mut ports = BTreeMap::new();
    let mut lowest = BUSES;
    let mut chassis = LAST_BUS;
    for (node, members) in by_node {
        let bus = lowest
            .checked_sub(members.len() + 1)
            .filter(|bus| *bus > LAST_BUS + 1 && members.len() <= SLOTS)
            .ok_or_else(full)?;
        lowest = bus;
        let slot = free_slot().ok_or_else(full)?;
        let id = format!("pxb{node}");
        controllers.push(
            Device::new("pxb-pcie", id.clone(), Connect::Named)
                .with("bus_nr", bus)
                .with("numa_node", node)
                .with("bus", "pcie.0")
                .with("addr", format!("{slot:#x}")),
        );
        for (place, index) in members.into_iter().enumerate() {
            chassis += 1;
            let port = format!("{id}.{}", place + 1);
            controllers.push(
                Device::new("pcie-root-port", port.clone(), Connect::Named)
                    .with("port", place)
                    .with("chassis", chassis)
                    .with("bus", id.clone())
                    .with("addr", format!("{place:#x}")),
            );
            ports.insert(index, port);
        }
    }
    Ok(Expanders { controllers, ports })
}

//! PCI addresses: the last pass over the finished machine.
//!
//! A guest that comes from KubeVirt must find its devices where they were, so this repeats what libvirt
//! does with KubeVirt's domains (facts 4.8): it goes through the devices once to learn how many buses
//! they need, with placeholders for the NICs that might come, and a second time to hand out addresses.

mod buses;
mod expander;
mod layout;

use std::collections::{BTreeMap, BTreeSet};

use hugepages::Bytes;

use crate::machine::device::{Connect, Device};
use crate::machine::hostdev;
use crate::machine::topology::layout::{Layout, Place};
use crate::refusal::Violation;

/// The highest bus that KubeVirt gives a root port to.
const LAST_BUS: usize = 31;

/// What decides how many root ports are left free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Guest RAM: above 2 GiB there is more room.
    pub memory: Bytes,
    /// Devices as KubeVirt counts them, its `none` USB controller included.
    pub in_use: usize,
    /// Placeholders are virtio NICs of this machine's generation.
    pub conventional_placeholders: bool,
}

/// `devices` in their order, each with `bus` and `addr`, after the root ports that they need.
pub fn assign(devices: Vec<Device>, room: Room) -> Result<Vec<Device>, Vec<Violation>> {
    let nics = devices.iter().filter(|device| device.nic).count();
    let placeholders = if nics == 0 {
        0
    } else {
        4usize.saturating_sub(nics)
    };
    let order = addressing_order(&devices, placeholders, room.conventional_placeholders);
    let buses = buses::dry_run(&order)?;
    let mut layout = Layout::new(buses, &order)?;
    let mut addresses = BTreeMap::new();
    for (position, device) in order.iter().enumerate() {
        if let Some(address) = layout.place(device)? {
            addresses.insert(position, address);
        }
    }
    layout.extend(extra_ports(room, placeholders));
    let occupied = occupied_by_others(&order, &addresses, layout.bridge_port);
    let expanders = expander::expanders(&devices, || layout.take_free_slot())?;
    let mut result = layout.controllers(&occupied);
    result.extend(expanders.controllers);
    let mut places: BTreeMap<_, _> = addresses
        .iter()
        .filter_map(|(position, place)| Some((order[*position].device?, *place)))
        .collect();
    let mut ports = expanders.ports;
    result.extend(devices.into_iter().enumerate().map(|(index, device)| {
        if let Some(port) = ports.remove(&index) {
            return device.with("bus", port).with("addr", "0x0");
        }
        match places.remove(&index) {
            Some(place) => layout::at(device, place),
            None => device,
        }
    }));
    Ok(result)
}

/// A device of the second pass, or a NIC that is not there yet.
struct Candidate<'a> {
    connect: &'a Connect,
    /// Position among the devices; none for a placeholder.
    device: Option<usize>,
    nic: bool,
    may_leave: bool,
}

const EXPRESS: Connect = Connect::Express(None);
const CONVENTIONAL: Connect = Connect::Conventional(None);

/// The devices in their order, with the placeholders after the last NIC.
fn addressing_order(
    devices: &[Device],
    placeholders: usize,
    conventional: bool,
) -> Vec<Candidate<'_>> {
    let mut order: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(index, device)| Candidate {
            connect: &device.connect,
            device: Some(index),
            nic: device.nic,
            may_leave: device.nic || device.driver == hostdev::DRIVER,
        })
        .collect();
    let after_nics = order
        .iter()
        .rposition(|candidate| candidate.nic)
        .map_or(0, |last| last + 1);
    let placeholder = if conventional {
        &CONVENTIONAL
    } else {
        &EXPRESS
    };
    order.splice(
        after_nics..after_nics,
        (0..placeholders).map(|_| Candidate {
            connect: placeholder,
            device: None,
            nic: true,
            may_leave: true,
        }),
    );
    order
}

/// Root ports beyond those that devices need (facts 4.8, "v3").
fn extra_ports(room: Room, placeholders: usize) -> usize {
    let (total, at_least) = if room.memory.0 > 2 * Bytes::GIB.0 {
        (16usize, 6)
    } else {
        (8, 3)
    };
    total
        .saturating_sub(room.in_use)
        .max(at_least)
        .saturating_sub(placeholders)
}

/// Buses that the guest ejects nothing from: those with anything but NICs, and devices that the host may want back.
fn occupied_by_others(
    order: &[Candidate<'_>],
    addresses: &BTreeMap<usize, Place>,
    bridge_port: Option<usize>,
) -> BTreeSet<usize> {
    addresses
        .iter()
        .filter(|(position, _)| !order[**position].may_leave)
        .map(|(_, place)| place.bus)
        .chain(bridge_port)
        .collect()
}

#[cfg(test)]
mod tests;

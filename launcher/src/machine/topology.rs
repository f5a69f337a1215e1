//! PCI addresses: the last pass over the finished machine.
//!
//! A guest that comes from KubeVirt must find its devices where they were, so this repeats what libvirt
//! does with KubeVirt's domains (facts 4.8): it goes through the devices once to learn how many buses
//! they need, with placeholders for the NICs that might come, and a second time to hand out addresses.

use std::collections::{BTreeMap, BTreeSet};

use hugepages::Bytes;

use crate::machine::device::{Connect, Device, Wish};
use crate::refusal::Violation;

/// The highest bus that KubeVirt gives a root port to.
const LAST_BUS: usize = 31;
/// Slots of a bus.
const SLOTS: u8 = 32;
/// q35's ISA bridge, AHCI and SMBus.
const CHIPSET_SLOT: u8 = 0x1f;
/// Functions of a slot.
const FUNCTIONS: u8 = 8;

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

/// A bus below the root complex; its number is its index plus one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bus {
    Port,
    /// A root port that is there for the bridge.
    BridgePort,
    Bridge,
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
    let buses = dry_run(&order)?;
    let mut layout = Layout::new(buses, &order)?;
    let mut addresses = BTreeMap::new();
    for (position, device) in order.iter().enumerate() {
        if let Some(address) = layout.place(device)? {
            addresses.insert(position, address);
        }
    }
    layout.extend(extra_ports(room, placeholders));
    let occupied = occupied_by_others(&order, &addresses, layout.bridge_port);
    let mut result = layout.controllers(&occupied);
    let mut places: BTreeMap<_, _> = addresses
        .iter()
        .filter_map(|(position, place)| Some((order[*position].device?, *place)))
        .collect();
    result.extend(devices.into_iter().enumerate().map(
        |(index, device)| match places.remove(&index) {
            Some(place) => at(device, place),
            None => device,
        },
    ));
    Ok(result)
}

/// A device of the second pass, or a NIC that is not there yet.
struct Candidate<'a> {
    connect: &'a Connect,
    /// Position among the devices; none for a placeholder.
    device: Option<usize>,
    nic: bool,
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
        }),
    );
    order
}

/// The buses that the devices need, one empty root port included.
fn dry_run(order: &[Candidate<'_>]) -> Result<Vec<Bus>, Vec<Violation>> {
    let mut buses = Vec::new();
    let mut taken = BTreeSet::new();
    let mut violations = Vec::new();
    for candidate in order {
        let wished = match candidate.connect {
            Connect::Express(Some(wish)) => grow_for_express(&mut buses, &mut taken, wish),
            Connect::Conventional(Some(wish)) => grow_for_conventional(&mut buses, wish),
            _ => Ok(()),
        };
        violations.extend(wished.err());
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    for candidate in order {
        match candidate.connect {
            Connect::Express(None) => take_port(&mut buses, &mut taken),
            Connect::Conventional(None) if !buses.contains(&Bus::Bridge) => {
                buses.extend([Bus::BridgePort, Bus::Bridge]);
            }
            _ => {}
        }
    }
    if !buses.is_empty() {
        take_port(&mut buses, &mut taken);
    }
    Ok(buses)
}

/// The first free root port, or a new one.
fn take_port(buses: &mut Vec<Bus>, taken: &mut BTreeSet<usize>) {
    let free = buses
        .iter()
        .enumerate()
        .position(|(index, bus)| *bus == Bus::Port && !taken.contains(&index));
    let index = free.unwrap_or_else(|| {
        buses.push(Bus::Port);
        buses.len() - 1
    });
    taken.insert(index);
}

fn grow_for_express(
    buses: &mut Vec<Bus>,
    taken: &mut BTreeSet<usize>,
    wish: &Wish,
) -> Result<(), Violation> {
    let address = wish.address;
    let bus = usize::from(address.bus);
    if address.domain != 0 || address.function != 0 {
        return Err(refused(
            wish,
            "the guest has PCI domain 0, and each device function 0",
        ));
    }
    if bus == 0 {
        return Ok(());
    }
    if bus > LAST_BUS || address.slot != 0 {
        return Err(refused(
            wish,
            "a PCI Express device sits in slot 0 of a root port's bus, 01 to 1f",
        ));
    }
    while buses.len() < bus {
        buses.push(Bus::Port);
    }
    if buses[bus - 1] == Bus::Port && taken.insert(bus - 1) {
        Ok(())
    } else {
        Err(refused(wish, "that bus is taken"))
    }
}

fn grow_for_conventional(buses: &mut Vec<Bus>, wish: &Wish) -> Result<(), Violation> {
    let address = wish.address;
    if address.domain != 0 || address.function != 0 {
        return Err(refused(
            wish,
            "the guest has PCI domain 0, and each device function 0",
        ));
    }
    if address.bus == 0 {
        return Ok(());
    }
    let bridge = match buses.iter().position(|bus| *bus == Bus::Bridge) {
        Some(index) => index + 1,
        None => buses.len() + 2,
    };
    if usize::from(address.bus) != bridge || address.slot == 0 {
        return Err(refused(
            wish,
            &format!("a conventional PCI device sits in a slot 01 to 1f of bus {bridge:02x}"),
        ));
    }
    if buses.len() < bridge {
        buses.extend([Bus::BridgePort, Bus::Bridge]);
    }
    Ok(())
}

fn refused(wish: &Wish, why: &str) -> Violation {
    Violation::new(
        wish.path.clone(),
        format!("the guest has no place for a device at `{}`", wish.address),
        why,
    )
}

/// A place that has been found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// 0 for the root complex.
    bus: usize,
    slot: u8,
    function: u8,
}

/// Which places are taken.
struct Layout {
    buses: Vec<Bus>,
    /// Slot and function of each root port on the root complex, by bus.
    ports: BTreeMap<usize, (u8, u8)>,
    /// Slots of the root complex with anything else in them.
    root: BTreeSet<u8>,
    /// Places of everything below it.
    taken: BTreeSet<(usize, u8)>,
    /// The root port with the bridge in it.
    bridge_port: Option<usize>,
}

impl Layout {
    /// Reserves what is fixed and what was wished for, then the root ports, then the bridge's place.
    fn new(buses: Vec<Bus>, order: &[Candidate<'_>]) -> Result<Self, Vec<Violation>> {
        let mut layout = Self {
            buses,
            ports: BTreeMap::new(),
            root: BTreeSet::from([0, CHIPSET_SLOT]),
            taken: BTreeSet::new(),
            bridge_port: None,
        };
        let mut violations = Vec::new();
        for candidate in order {
            match candidate.connect {
                Connect::Root(slot) => {
                    layout.root.insert(*slot);
                }
                Connect::Express(Some(wish)) | Connect::Conventional(Some(wish)) => {
                    let (bus, slot) = (usize::from(wish.address.bus), wish.address.slot);
                    let new = if bus == 0 {
                        layout.root.insert(slot)
                    } else {
                        layout.taken.insert((bus, slot))
                    };
                    if !new {
                        violations.push(refused(wish, "that place is taken"));
                    }
                }
                _ => {}
            }
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        for bus in 1..=layout.buses.len() {
            if layout.buses[bus - 1] != Bus::Bridge {
                layout.add_port(bus);
            }
        }
        if layout.buses.contains(&Bus::Bridge) {
            layout.bridge_port = layout.take_free_port();
        }
        Ok(layout)
    }

    /// Gives a root port the next function of the root complex.
    fn add_port(&mut self, bus: usize) {
        let used: BTreeSet<_> = self.ports.values().copied().collect();
        let free = (0..SLOTS)
            .filter(|slot| !self.root.contains(slot))
            .flat_map(|slot| (0..FUNCTIONS).map(move |function| (slot, function)))
            .find(|place| !used.contains(place));
        if let Some(place) = free {
            self.ports.insert(bus, place);
        }
    }

    fn take_free_port(&mut self) -> Option<usize> {
        let bus = *self
            .ports
            .keys()
            .find(|bus| !self.taken.contains(&(**bus, 0)))?;
        self.taken.insert((bus, 0));
        Some(bus)
    }

    /// The place of one candidate, none for what is not on PCI.
    fn place(&mut self, candidate: &Candidate<'_>) -> Result<Option<Place>, Vec<Violation>> {
        let at = |bus, slot| Place {
            bus,
            slot,
            function: 0,
        };
        let full = || {
            vec![Violation::new(
                "spec.domain.devices",
                "more devices than the guest has PCI slots for",
                "fewer disks or interfaces, or SCSI disks, which share one slot",
            )]
        };
        match candidate.connect {
            Connect::Named => Ok(None),
            Connect::Root(slot) => Ok(Some(at(0, *slot))),
            Connect::Express(Some(wish)) | Connect::Conventional(Some(wish)) => {
                Ok(Some(at(usize::from(wish.address.bus), wish.address.slot)))
            }
            Connect::Express(None) => {
                let bus = self.take_free_port().ok_or_else(full)?;
                Ok(Some(at(bus, 0)))
            }
            Connect::Conventional(None) => {
                let bus = self.bridge().ok_or_else(full)?;
                let slot = (1..SLOTS)
                    .find(|slot| !self.taken.contains(&(bus, *slot)))
                    .ok_or_else(full)?;
                self.taken.insert((bus, slot));
                Ok(Some(at(bus, slot)))
            }
        }
    }

    /// The conventional bus.
    fn bridge(&self) -> Option<usize> {
        self.buses
            .iter()
            .position(|bus| *bus == Bus::Bridge)
            .map(|index| index + 1)
    }

    /// Root ports for hotplug, as far as KubeVirt numbers them.
    fn extend(&mut self, count: usize) {
        for _ in 0..count {
            if self.buses.len() >= LAST_BUS {
                break;
            }
            self.buses.push(Bus::Port);
            self.add_port(self.buses.len());
        }
    }

    /// The root ports and the bridge as devices. The guest may not eject what `occupied` ports hold.
    fn controllers(&self, occupied: &BTreeSet<usize>) -> Vec<Device> {
        let shared = |slot| {
            self.ports
                .values()
                .any(|&(other, function)| other == slot && function > 0)
        };
        (1..=self.buses.len())
            .filter_map(|bus| match self.ports.get(&bus) {
                Some(&(slot, function)) => {
                    let multifunction = function == 0 && shared(slot);
                    let place = Place {
                        bus: 0,
                        slot,
                        function,
                    };
                    Some(root_port(
                        bus,
                        place,
                        multifunction,
                        occupied.contains(&bus),
                    ))
                }
                None => self.bridge_port.map(|port| {
                    let place = Place {
                        bus: port,
                        slot: 0,
                        function: 0,
                    };
                    at(
                        Device::new("pcie-pci-bridge", bus_name(bus), CONVENTIONAL),
                        place,
                    )
                }),
            })
            .collect()
    }
}

fn root_port(bus: usize, place: Place, multifunction: bool, occupied: bool) -> Device {
    let mut device = Device::new("pcie-root-port", bus_name(bus), EXPRESS)
        .with("port", (place.slot << 3) + place.function)
        .with("chassis", bus);
    if occupied {
        device = device.with("hotplug", false);
    }
    if multifunction {
        device = device.with("multifunction", true);
    }
    at(device, place)
}

fn at(device: Device, place: Place) -> Device {
    let addr = if place.function == 0 {
        format!("{:#x}", place.slot)
    } else {
        format!("{:#x}.{:#x}", place.slot, place.function)
    };
    device.with("bus", bus_name(place.bus)).with("addr", addr)
}

fn bus_name(bus: usize) -> String {
    if bus == 0 {
        "pcie.0".to_owned()
    } else {
        format!("pci.{bus}")
    }
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

/// Buses with anything but a NIC in them.
fn occupied_by_others(
    order: &[Candidate<'_>],
    addresses: &BTreeMap<usize, Place>,
    bridge_port: Option<usize>,
) -> BTreeSet<usize> {
    addresses
        .iter()
        .filter(|(position, _)| !order[**position].nic)
        .map(|(_, place)| place.bus)
        .chain(bridge_port)
        .collect()
}

#[cfg(test)]
mod tests;

//! The second pass: places for root ports, the bridge and every device.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::device::{Connect, Device};
use crate::machine::topology::buses::{Bus, refused};
use crate::machine::topology::{CONVENTIONAL, Candidate, EXPRESS, LAST_BUS};
use crate::refusal::Violation;

/// Slots of a bus.
const SLOTS: u8 = 32;
/// q35's ISA bridge, AHCI and SMBus.
const CHIPSET_SLOT: u8 = 0x1f;
/// Functions of a slot.
const FUNCTIONS: u8 = 8;

/// A place that has been found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// 0 for the root complex.
    pub(super) bus: usize,
    slot: u8,
    function: u8,
}

/// Which places are taken.
pub(super) struct Layout {
    buses: Vec<Bus>,
    /// Slot and function of each root port on the root complex, by bus.
    ports: BTreeMap<usize, (u8, u8)>,
    /// Slots of the root complex with anything else in them.
    root: BTreeSet<u8>,
    /// Places of everything below it.
    taken: BTreeSet<(usize, u8)>,
    /// The root port with the bridge in it.
    pub(super) bridge_port: Option<usize>,
}

impl Layout {
    /// Reserves what is fixed and what was wished for, then the root ports, then the bridge's place.
    pub(super) fn new(buses: Vec<Bus>, order: &[Candidate<'_>]) -> Result<Self, Vec<Violation>> {
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
    pub(super) fn place(
        &mut self,
        candidate: &Candidate<'_>,
    ) -> Result<Option<Place>, Vec<Violation>> {
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
            Connect::Named | Connect::Node(_) => Ok(None),
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
    pub(super) fn extend(&mut self, count: usize) {
        for _ in 0..count {
            if self.buses.len() >= LAST_BUS {
                break;
            }
            self.buses.push(Bus::Port);
            self.add_port(self.buses.len());
        }
    }

    /// A slot of the root complex that nothing is in, the highest, where no root port comes soon.
    pub(super) fn take_free_slot(&mut self) -> Option<u8> {
        let of_ports = |slot: &u8| self.ports.values().any(|(taken, _)| taken == slot);
        let mut slots = (1..SLOTS).rev();
        let slot = slots.find(|slot| !self.root.contains(slot) && !of_ports(slot))?;
        self.root.insert(slot);
        Some(slot)
    }

    /// The root ports and the bridge as devices. The guest may not eject what `occupied` ports hold.
    pub(super) fn controllers(&self, occupied: &BTreeSet<usize>) -> Vec<Device> {
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

pub(super) fn at(device: Device, place: Place) -> Device {
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

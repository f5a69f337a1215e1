//! The first pass: which buses the devices need.

use std::collections::BTreeSet;

use crate::machine::device::{Connect, Wish};
use crate::machine::topology::{Candidate, LAST_BUS};
use crate::refusal::Violation;

/// A bus below the root complex; its number is its index plus one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bus {
    /// A root port's.
    Port,
    /// A root port's that is there for the bridge.
    BridgePort,
    /// The conventional one.
    Bridge,
}

/// The buses that the devices need, one empty root port included.
pub(super) fn dry_run(order: &[Candidate<'_>]) -> Result<Vec<Bus>, Vec<Violation>> {
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

pub(super) fn refused(wish: &Wish, why: &str) -> Violation {
    Violation::new(
        wish.path.clone(),
        format!("the guest has no place for a device at `{}`", wish.address),
        why,
    )
}

//! Addresses against KubeVirt's own examples, and invariants of the pass.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::machine::device::Wish;

fn device(id: &str, connect: Connect, nic: bool) -> Device {
    Device {
        nic,
        ..Device::new("x", id, connect)
    }
}

fn nic(id: &str) -> Device {
    device(id, Connect::Express(None), true)
}

fn other(id: &str) -> Device {
    device(id, Connect::Express(None), false)
}

fn old_nic(id: &str) -> Device {
    device(id, Connect::Conventional(None), true)
}

fn vga() -> Device {
    device("vga", Connect::Root(1), false)
}

fn room(gib: u64, in_use: usize) -> Room {
    Room {
        memory: Bytes(gib << 30),
        in_use,
        conventional_placeholders: false,
    }
}

/// `id bus addr`, one a line; root ports without their numbers.
fn map(devices: &[Device]) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("-").to_owned();
    let lines: Vec<_> = devices
        .iter()
        .map(|device| {
            let closed = device.props.get("hotplug").is_some();
            format!(
                "{} {} {}{}",
                device.id,
                text(device.props.get("bus")),
                text(device.props.get("addr")),
                if closed { " closed" } else { "" }
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn kubevirts_own_example() {
    // docs/pci-topology.md: one NIC, more than 2 GiB, seven ports in use; and the one spare root port
    // that libvirt adds to every new domain, which that page leaves out.
    let devices = ["nic", "scsi0", "virtio-serial0", "vda", "vdb", "balloon0"]
        .iter()
        .enumerate()
        .map(|(index, id)| if index == 0 { nic(id) } else { other(id) })
        .chain([vga()])
        .collect();
    insta::assert_snapshot!(map(&assign(devices, room(4, 7)).unwrap()), @r"
    pci.1 pcie.0 0x2
    pci.2 pcie.0 0x2.0x1
    pci.3 pcie.0 0x2.0x2
    pci.4 pcie.0 0x2.0x3
    pci.5 pcie.0 0x2.0x4 closed
    pci.6 pcie.0 0x2.0x5 closed
    pci.7 pcie.0 0x2.0x6 closed
    pci.8 pcie.0 0x2.0x7 closed
    pci.9 pcie.0 0x3 closed
    pci.10 pcie.0 0x3.0x1
    pci.11 pcie.0 0x3.0x2
    pci.12 pcie.0 0x3.0x3
    pci.13 pcie.0 0x3.0x4
    pci.14 pcie.0 0x3.0x5
    pci.15 pcie.0 0x3.0x6
    pci.16 pcie.0 0x3.0x7
    nic pci.1 0x0
    scsi0 pci.5 0x0
    virtio-serial0 pci.6 0x0
    vda pci.7 0x0
    vdb pci.8 0x0
    balloon0 pci.9 0x0
    vga pcie.0 0x1
    ");
}

#[test]
fn without_graphics_root_ports_start_in_slot_one() {
    insta::assert_snapshot!(map(&assign(vec![other("vda")], room(1, 3)).unwrap()), @r"
    pci.1 pcie.0 0x1 closed
    pci.2 pcie.0 0x1.0x1
    pci.3 pcie.0 0x1.0x2
    pci.4 pcie.0 0x1.0x3
    pci.5 pcie.0 0x1.0x4
    pci.6 pcie.0 0x1.0x5
    pci.7 pcie.0 0x1.0x6
    vda pci.1 0x0
    ");
}

#[test]
fn conventional_nics_share_a_bridge_which_takes_the_first_root_port() {
    let devices = vec![vga(), nic("a"), old_nic("b"), old_nic("c"), other("vda")];
    insta::assert_snapshot!(map(&assign(devices, room(1, 8)).unwrap()), @r"
    pci.1 pcie.0 0x2 closed
    pci.2 pcie.0 0x2.0x1
    pci.3 pci.1 0x0
    pci.4 pcie.0 0x2.0x2
    pci.5 pcie.0 0x2.0x3 closed
    pci.6 pcie.0 0x2.0x4
    pci.7 pcie.0 0x2.0x5
    pci.8 pcie.0 0x2.0x6
    vga pcie.0 0x1
    a pci.2 0x0
    b pci.3 0x1
    c pci.3 0x2
    vda pci.5 0x0
    ");
}

#[test]
fn a_wish_keeps_its_place_and_others_go_around_it() {
    let wish = |text: &str| {
        Some(Wish {
            address: text.parse().unwrap(),
            path: "p".to_owned(),
        })
    };
    let devices = vec![
        nic("a"),
        device("b", Connect::Express(wish("0000:02:00.0")), true),
        device("c", Connect::Express(wish("0000:00:01.0")), true),
        device("d", Connect::Conventional(wish("0000:04:03.0")), true),
        other("vda"),
    ];
    insta::assert_snapshot!(map(&assign(devices, room(1, 8)).unwrap()), @r"
    pci.1 pcie.0 0x2 closed
    pci.2 pcie.0 0x2.0x1
    pci.3 pcie.0 0x2.0x2
    pci.4 pci.1 0x0
    pci.5 pcie.0 0x2.0x3 closed
    pci.6 pcie.0 0x2.0x4
    pci.7 pcie.0 0x2.0x5
    pci.8 pcie.0 0x2.0x6
    pci.9 pcie.0 0x2.0x7
    a pci.3 0x0
    b pci.2 0x0
    c pcie.0 0x1
    d pci.4 0x3
    vda pci.5 0x0
    ");
}

#[test]
fn devices_of_a_node_are_below_its_expander_and_move_nobody() {
    let on = |id: &str, node| device(id, Connect::Node(node), false);
    let plain = assign(vec![nic("a"), other("vda")], room(1, 8)).unwrap();
    let devices = vec![
        nic("a"),
        on("vf0", 1),
        on("gpu", 0),
        on("vf1", 1),
        other("vda"),
    ];
    let placed = assign(devices, room(1, 8)).unwrap();
    for device in &plain {
        let same = placed.iter().find(|other| other.id == device.id);
        assert_eq!(same, Some(device));
    }
    let new: Vec<_> = placed
        .iter()
        .filter(|device| plain.iter().all(|other| other.id != device.id))
        .map(|device| serde_json::to_string(device).unwrap())
        .collect();
    insta::assert_snapshot!(new.join("\n"), @r#"
    {"driver":"pxb-pcie","id":"pxb0","bus_nr":254,"numa_node":0,"bus":"pcie.0","addr":"0x1e"}
    {"driver":"pcie-root-port","id":"pxb0.1","port":0,"chassis":32,"bus":"pxb0","addr":"0x0"}
    {"driver":"pxb-pcie","id":"pxb1","bus_nr":251,"numa_node":1,"bus":"pcie.0","addr":"0x1d"}
    {"driver":"pcie-root-port","id":"pxb1.1","port":0,"chassis":33,"bus":"pxb1","addr":"0x0"}
    {"driver":"pcie-root-port","id":"pxb1.2","port":1,"chassis":34,"bus":"pxb1","addr":"0x1"}
    {"driver":"x","id":"vf0","bus":"pxb1.1","addr":"0x0"}
    {"driver":"x","id":"gpu","bus":"pxb0.1","addr":"0x0"}
    {"driver":"x","id":"vf1","bus":"pxb1.2","addr":"0x0"}
    "#);
}

#[test]
fn more_devices_of_nodes_than_buses_are_refused() {
    let on = |count: usize, node| {
        let devices =
            (0..count).map(|index| device(&format!("d{index}"), Connect::Node(node), false));
        assign(devices.collect(), room(1, 8))
    };
    assert!(on(32, 0).is_ok());
    assert_eq!(on(33, 0).map(|_| ()).unwrap_err().len(), 1);
}

#[test]
fn more_conventional_devices_than_slots_are_refused() {
    let devices = (0..32).map(|index| old_nic(&format!("n{index}"))).collect();
    assert_eq!(assign(devices, room(1, 8)).unwrap_err().len(), 1);
}

#[test]
fn room_follows_kubevirts_numbers() {
    assert_eq!(extra_ports(room(4, 7), 3), 6);
    assert_eq!(extra_ports(room(2, 7), 3), 0);
    assert_eq!(extra_ports(room(2, 4), 0), 4);
    assert_eq!(extra_ports(room(64, 40), 0), 6);
}

proptest! {
    #[test]
    fn no_two_devices_share_a_place(
        kinds in proptest::collection::vec((0u8..3, any::<bool>()), 0..40),
        graphics: bool,
        gib in 1u64..4,
        conventional_placeholders: bool,
    ) {
        let mut devices: Vec<_> = graphics.then(vga).into_iter().collect();
        for (index, (kind, nic)) in kinds.iter().enumerate() {
            let connect = match kind {
                0 => Connect::Express(None),
                1 if index < 30 => Connect::Conventional(None),
                _ => Connect::Named,
            };
            devices.push(device(&format!("d{index}"), connect, *nic));
        }
        let room = Room { conventional_placeholders, ..room(gib, kinds.len()) };
        let placed = assign(devices, room).unwrap();
        let buses: BTreeSet<_> = placed.iter().map(|device| device.id.clone()).collect();
        let mut places = BTreeSet::new();
        for device in &placed {
            let named = device.connect == Connect::Named;
            prop_assert_eq!(named, device.props.get("addr").is_none());
            if let (Some(bus), Some(addr)) = (device.props.get("bus"), device.props.get("addr")) {
                prop_assert!(places.insert((bus.to_string(), addr.to_string())));
                let bus = bus.as_str().unwrap();
                prop_assert!(bus == "pcie.0" || buses.contains(bus), "{}", bus);
            }
        }
    }
}

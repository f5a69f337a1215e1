//! NICs: the device and the tap behind it.

use crate::machine::device::{Connect, Device, Props, Wish};
use crate::machine::fds::NicFds;
use crate::machine::step::QmpStep;
use crate::machine::virtio::Virtio;
use crate::net::plan::NicPlan;
use crate::spec::nic::{Nic, NicModel};

/// Device and backend ids: KubeVirt's aliases, as libvirt hands them to QEMU.
fn ids(nic: &Nic) -> (String, String) {
    let device = format!("ua-{}", nic.name);
    let backend = format!("host{device}");
    (device, backend)
}

/// `-netdev`: taps and vhost as inherited fds.
pub fn netdev(nic: &Nic, fds: &NicFds) -> Props {
    let joined = |numbers: &[i32]| {
        let texts: Vec<_> = numbers.iter().map(i32::to_string).collect();
        texts.join(":")
    };
    let multiple = fds.tap.len() > 1;
    let netdev = Props::new()
        .with("type", "tap")
        .with("id", ids(nic).1)
        .with(if multiple { "fds" } else { "fd" }, joined(&fds.tap));
    if fds.vhost.is_empty() {
        return netdev;
    }
    netdev.with("vhost", true).with(
        if multiple { "vhostfds" } else { "vhostfd" },
        joined(&fds.vhost),
    )
}

/// The device.
pub fn device(nic: &Nic, plan: &NicPlan, virtio: Virtio) -> Device {
    let (id, backend) = ids(nic);
    let wish = nic.pci_address.map(|address| Wish {
        address,
        path: format!("{}.pciAddress", nic.path),
    });
    let mut device = match nic.model {
        NicModel::Virtio => virtio_net(
            id,
            plan,
            virtio.driver("virtio-net-pci"),
            virtio.connect(wish),
        ),
        NicModel::E1000 => Device::new("e1000", id, Connect::Conventional(wish)),
        NicModel::Rtl8139 => Device::new("rtl8139", id, Connect::Conventional(wish)),
        NicModel::Ne2kPci => Device::new("ne2k_pci", id, Connect::Conventional(wish)),
        NicModel::Pcnet => Device::new("pcnet", id, Connect::Conventional(wish)),
        NicModel::E1000e => Device::new("e1000e", id, Connect::Express(wish)),
        NicModel::Igb => Device::new("igb", id, Connect::Express(wish)),
    };
    device.nic = true;
    device = device
        .with("netdev", backend)
        .with("mac", plan.guest_mac.to_string())
        .with_some("bootindex", nic.boot_order)
        .with_some("acpi-index", nic.acpi_index);
    if nic.boot_order.is_none() {
        device = device.with("rombar", 0).with("romfile", "");
    }
    device
}

fn virtio_net(id: String, plan: &NicPlan, driver: String, connect: Connect) -> Device {
    let device = Device::new(driver, id, connect).with("host_mtu", plan.mtu);
    let queues = u32::from(plan.tap.queues);
    if queues > 1 {
        // One vector for each direction of each queue, one for the configuration, one for control.
        device.with("mq", true).with("vectors", 2 * queues + 2)
    } else {
        device
    }
}

/// `state: down`: a link cannot start down by its arguments.
pub fn link_down(nic: &Nic) -> QmpStep {
    QmpStep {
        execute: "set_link".to_owned(),
        arguments: serde_json::json!({"name": ids(nic).0, "up": false}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn device_of(nic: &Nic) -> Device {
        let mut spec = fixtures::spec();
        spec.nics = vec![nic.clone()];
        let plan = fixtures::network(&spec).nics.remove(0);
        device(nic, &plan, Virtio::NonTransitional)
    }

    #[test]
    fn several_queues_are_several_fds_and_vectors() {
        let mut nic = fixtures::nic(0, "default", NicModel::Virtio);
        nic.queues = 3;
        let fds = NicFds {
            tap: vec![10, 11, 12],
            vhost: vec![13, 14, 15],
        };
        assert_eq!(
            serde_json::to_string(&netdev(&nic, &fds)).unwrap(),
            r#"{"type":"tap","id":"hostua-default","fds":"10:11:12","vhost":true,"vhostfds":"13:14:15"}"#
        );
        let device = device_of(&nic);
        assert_eq!(device.props.get("vectors"), Some(&8.into()));
        assert_eq!(device.props.get("mq"), Some(&true.into()));
    }

    #[test]
    fn only_a_nic_to_boot_from_has_a_rom() {
        let mut nic = fixtures::nic(0, "default", NicModel::E1000e);
        assert!(device_of(&nic).props.get("romfile").is_some());
        nic.boot_order = Some(1);
        assert_eq!(device_of(&nic).props.get("romfile"), None);
    }

    #[test]
    fn the_mtu_is_told_to_virtio_alone() {
        let mtu = |model| {
            let device = device_of(&fixtures::nic(0, "n", model));
            device.props.get("host_mtu").is_some()
        };
        assert!(mtu(NicModel::Virtio));
        assert!(!mtu(NicModel::Igb));
    }
}

//! Devices of the host.

use crate::machine::device::{Connect, Device, Props, Wish};
use crate::passthrough::Host;
use crate::passthrough::plan::Passed;
use crate::spec::host_device::HostDevice;

/// QEMU's model of them. Its root port stays open for unplugging: the host may want it back.
pub const DRIVER: &str = "vfio-pci";

/// The id of QEMU's iommufd.
const IOMMUFD: &str = "iommufd0";

/// `-object` of the iommufd that QEMU inherits as `number`.
pub fn iommufd(number: i32) -> Props {
    Props::new()
        .with("qom-type", "iommufd")
        .with("id", IOMMUFD)
        .with("fd", number.to_string())
}

/// [`DRIVER`], whatever stands behind it. By legacy groups QEMU opens `/dev/vfio/<group>` itself; by iommufd it inherits
/// the device as `number`. A guest with NUMA nodes
/// sees it on `node`, unless the VMI says where it sees it.
pub fn device(
    passed: &Passed,
    asked: &HostDevice,
    node: Option<u32>,
    number: Option<i32>,
) -> Device {
    let wish = asked.pci_address.map(|address| Wish {
        address,
        path: format!("{}.pciAddress", asked.path),
    });
    let connect = match (wish, node) {
        (None, Some(node)) => Connect::Node(node),
        (wish, _) => Connect::Express(wish),
    };
    let device = Device::new(DRIVER, passed.id.clone(), connect);
    let device = match passed.device {
        Host::Pci(address) => device.with("host", address.to_string()),
        // The path by which libvirt names a mediated device.
        Host::Mdev(uuid) => device.with("sysfsdev", format!("/sys/bus/mdev/devices/{uuid}")),
    };
    let device = match number {
        Some(number) => device
            .with("iommufd", IOMMUFD)
            .with("fd", number.to_string()),
        None => device,
    };
    let device = device.with_some("bootindex", asked.boot_order);
    // A VF has no option ROM of its own; one of a GPU runs only where the guest boots from it or shows it.
    if asked.boot_order.is_none() && asked.is_nic() {
        device.with("rombar", 0)
    } else {
        device
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::host_device::Kind;

    fn of(boot_order: Option<u32>, pci_address: Option<&str>, node: Option<u32>) -> Device {
        by(boot_order, pci_address, node, None)
    }

    fn by(
        boot_order: Option<u32>,
        pci_address: Option<&str>,
        node: Option<u32>,
        number: Option<i32>,
    ) -> Device {
        let asked = HostDevice {
            name: "fast".to_owned(),
            path: "spec.domain.devices.interfaces[1]".to_owned(),
            kind: Kind::Sriov {
                network: "fast-network".to_owned(),
            },
            boot_order,
            pci_address: pci_address.map(|text| text.parse().unwrap()),
            told: None,
        };
        let passed = Passed {
            name: asked.name.clone(),
            path: asked.path.clone(),
            id: asked.id(),
            device: Host::Pci("0000:82:02.1".parse().unwrap()),
            group: Some(17),
            cdev: None,
            host_node: Some(1),
            source: "network-info".to_owned(),
        };
        device(&passed, &asked, node, number)
    }

    #[test]
    fn a_vf_is_known_by_kubevirts_alias() {
        assert_eq!(
            serde_json::to_string(&of(None, None, None)).unwrap(),
            r#"{"driver":"vfio-pci","id":"ua-sriov-fast","host":"0000:82:02.1","rombar":0}"#
        );
        assert_eq!(
            of(Some(2), None, None).props.get("bootindex"),
            Some(&2.into())
        );
    }

    #[test]
    fn by_iommufd_it_is_inherited_by_number() {
        assert_eq!(
            serde_json::to_string(&by(None, None, None, Some(17))).unwrap(),
            r#"{"driver":"vfio-pci","id":"ua-sriov-fast","host":"0000:82:02.1","iommufd":"iommufd0","fd":"17","rombar":0}"#
        );
        assert_eq!(
            serde_json::to_string(&iommufd(16)).unwrap(),
            r#"{"qom-type":"iommufd","id":"iommufd0","fd":"16"}"#
        );
    }

    #[test]
    fn the_guest_sees_it_on_its_node_unless_told_where() {
        assert_eq!(of(None, None, Some(1)).connect, Connect::Node(1));
        let told = of(None, Some("0000:05:00.0"), Some(1)).connect;
        assert!(matches!(told, Connect::Express(Some(_))), "{told:?}");
    }
}

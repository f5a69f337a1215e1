//! Devices of the host.

use crate::machine::device::{Connect, Device, Wish};
use crate::passthrough::Host;
use crate::passthrough::plan::Passed;
use crate::spec::host_device::HostDevice;

/// `vfio-pci`, whatever stands behind it. By legacy groups QEMU opens `/dev/vfio/<group>` itself.
pub fn device(passed: &Passed, asked: &HostDevice) -> Device {
    let wish = asked.pci_address.map(|address| Wish {
        address,
        path: format!("{}.pciAddress", asked.path),
    });
    let device = Device::new("vfio-pci", passed.id.clone(), Connect::Express(wish));
    let device = match passed.device {
        Host::Pci(address) => device.with("host", address.to_string()),
        // The path by which libvirt names a mediated device.
        Host::Mdev(uuid) => device.with("sysfsdev", format!("/sys/bus/mdev/devices/{uuid}")),
    };
    let device = device.with_some("bootindex", asked.boot_order);
    // A VF has no option ROM of its own; one of a GPU runs only where the guest boots from it or shows it.
    if asked.boot_order.is_none() && asked.is_nic() {
        device.with("rombar", 0)
    } else {
        device
    }
}

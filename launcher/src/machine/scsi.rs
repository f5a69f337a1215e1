//! The virtio-scsi controller: there for SCSI disks, and as room for hotplug.

use crate::machine::device::Device;
use crate::machine::virtio::Virtio;
use crate::spec::Spec;
use crate::spec::disk::Bus;

/// Whether the machine has one: always, unless hotplug is off and no disk needs it.
pub fn wanted(spec: &Spec) -> bool {
    !spec.devices.disable_hotplug || spec.disks.iter().any(|disk| disk.bus == Bus::Scsi)
}

/// The controller.
pub fn controller(virtio: Virtio) -> Device {
    Device::new(
        virtio.driver("virtio-scsi-pci"),
        "scsi0",
        virtio.connect(None),
    )
}

//! The virtio-scsi controller: there for SCSI disks, and as room for hotplug.

use crate::machine::device::Device;
use crate::machine::iothread;
use crate::machine::virtio::Virtio;
use crate::spec::Spec;
use crate::spec::disk::Bus;

/// Whether the machine has one: always, unless hotplug is off and no disk needs it.
pub fn wanted(spec: &Spec) -> bool {
    !spec.devices.disable_hotplug || spec.disks.iter().any(|disk| disk.bus == Bus::Scsi)
}

/// The controller. All SCSI disks are behind it, so a thread of one's own for one of them is the controller's, with as
/// many queues as there are vCPUs (facts 4.7).
pub fn controller(spec: &Spec, virtio: Virtio) -> Device {
    let device = Device::new(
        virtio.driver("virtio-scsi-pci"),
        "scsi0",
        virtio.connect(None),
    );
    let mut disks = spec.disks.iter().filter(|disk| disk.bus == Bus::Scsi);
    match disks.find(|disk| !disk.iothreads.is_empty()) {
        Some(disk) => {
            let device = iothread::served(device, &disk.iothreads);
            device.with("num_queues", spec.cpu.vcpus())
        }
        None => device,
    }
}

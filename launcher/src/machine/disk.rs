//! Disks: the device that the guest sees. What it reads is in `blockdev`.

use crate::machine::blockdev::{Backend, CacheMode};
use crate::machine::device::{Connect, Device, Wish};
use crate::machine::iothread;
use crate::machine::virtio::Virtio;
use crate::spec::disk::{Bus, Disk, DiskKind, ErrorPolicy};

/// Ports of one AHCI controller.
const AHCI_PORTS: usize = 6;

/// What a disk's device depends on besides the disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskContext {
    /// Generation of virtio-blk.
    pub virtio: Virtio,
    /// Queues of virtio-blk, where the VMI says so.
    pub queues: Option<u32>,
    /// Position among the disks whose guest name starts with `sd`, from 0: libvirt derives port and LUN from it.
    pub sd_index: usize,
    /// `bootindex`.
    pub boot_index: Option<u32>,
}

/// Positions of SATA and SCSI disks among both; any for others.
pub fn sd_indices(disks: &[Disk]) -> Vec<usize> {
    let mut next = 0;
    disks
        .iter()
        .map(|disk| {
            let index = next;
            next += usize::from(disk.bus != Bus::Virtio);
            index
        })
        .collect()
}

/// AHCI controllers beyond the one that q35 has built in.
pub fn extra_ahci(disks: &[Disk]) -> Vec<Device> {
    let last = disks
        .iter()
        .zip(sd_indices(disks))
        .filter(|(disk, _)| disk.bus == Bus::Sata)
        .map(|(_, index)| index / AHCI_PORTS)
        .max()
        .unwrap_or(0);
    (1..=last)
        .map(|number| {
            Device::new(
                "ich9-ahci",
                format!("sata{number}"),
                Connect::Conventional(None),
            )
        })
        .collect()
}

/// The device of one disk.
pub fn device(disk: &Disk, backend: &Backend, context: DiskContext) -> Device {
    let id = format!("ua-{}", disk.name);
    let device = match disk.bus {
        Bus::Virtio => virtio_blk(disk, id, context),
        Bus::Sata => sata(disk, id, context.sd_index),
        Bus::Scsi => scsi(disk, id, context.sd_index),
    };
    let (write, read) = error_actions(disk.error_policy);
    let mut device = device
        .with_some("drive", backend.node.as_deref())
        .with_some("serial", disk.serial.as_deref())
        .with_some("bootindex", context.boot_index);
    if disk.kind == DiskKind::Disk {
        let write_cache = if backend.cache == CacheMode::WriteThrough {
            "off"
        } else {
            "on"
        };
        device = device.with("write-cache", write_cache);
    }
    device.with("werror", write).with_some("rerror", read)
}

fn virtio_blk(disk: &Disk, id: String, context: DiskContext) -> Device {
    let wish = disk.pci_address.map(|address| Wish {
        address,
        path: format!("{}.disk.pciAddress", disk.path),
    });
    let device = Device::new(
        context.virtio.driver("virtio-blk-pci"),
        id,
        context.virtio.connect(wish),
    );
    iothread::served(device, &disk.iothreads).with_some("num-queues", context.queues)
}

fn sata(disk: &Disk, id: String, index: usize) -> Device {
    let driver = match disk.kind {
        DiskKind::Disk => "ide-hd",
        DiskKind::CdRom { .. } => "ide-cd",
    };
    let port = index % AHCI_PORTS;
    let bus = match index / AHCI_PORTS {
        0 => format!("ide.{port}"),
        controller => format!("sata{controller}.{port}"),
    };
    Device::new(driver, id, Connect::Named).with("bus", bus)
}

fn scsi(disk: &Disk, id: String, index: usize) -> Device {
    let (driver, lun) = match disk.kind {
        DiskKind::Disk => ("scsi-hd", index),
        // KubeVirt leaves a CD-ROM's place to libvirt, which keeps unit 7 for the controller.
        DiskKind::CdRom { .. } => ("scsi-cd", index + usize::from(index >= 7)),
    };
    // What the guest finds in VPD page 0x83, and names the disk by.
    let device_id = disk.serial.clone().unwrap_or_else(|| format!("drive-{id}"));
    Device::new(driver, id, Connect::Named)
        .with("bus", "scsi0.0")
        .with("channel", 0)
        .with("scsi-id", 0)
        .with("lun", lun)
        .with("device_id", device_id)
}

/// `werror` and `rerror`. Running out of space is a matter of writing alone.
fn error_actions(policy: ErrorPolicy) -> (&'static str, Option<&'static str>) {
    match policy {
        ErrorPolicy::Stop => ("stop", Some("stop")),
        ErrorPolicy::Ignore => ("ignore", Some("ignore")),
        ErrorPolicy::Report => ("report", Some("report")),
        ErrorPolicy::Enospace => ("enospc", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn context(sd_index: usize) -> DiskContext {
        DiskContext {
            virtio: Virtio::NonTransitional,
            queues: None,
            sd_index,
            boot_index: None,
        }
    }

    fn text(device: &Device, key: &str) -> String {
        device
            .props
            .get(key)
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    #[test]
    fn sata_and_scsi_count_together_as_their_guest_names_do() {
        let disks = [
            fixtures::disk(0, "a", Bus::Sata),
            fixtures::disk(1, "b", Bus::Virtio),
            fixtures::disk(2, "c", Bus::Scsi),
            fixtures::disk(3, "d", Bus::Sata),
        ];
        assert_eq!(sd_indices(&disks), [0, 1, 1, 2]);
    }

    #[test]
    fn the_seventh_sata_disk_needs_a_second_controller() {
        let disks: Vec<_> = (0..7)
            .map(|index| fixtures::disk(index, "d", Bus::Sata))
            .collect();
        assert!(extra_ahci(&disks[..6]).is_empty());
        assert_eq!(extra_ahci(&disks).len(), 1);
        let seventh = device(&disks[6], &Backend::default(), context(6));
        assert_eq!(text(&seventh, "bus"), "\"sata1.0\"");
    }

    #[test]
    fn a_scsi_cdrom_keeps_clear_of_unit_seven() {
        let cdrom = fixtures::cdrom(7, "c", Bus::Scsi);
        let disk = fixtures::disk(7, "d", Bus::Scsi);
        assert_eq!(
            text(&device(&cdrom, &Backend::default(), context(7)), "lun"),
            "8"
        );
        assert_eq!(
            text(&device(&disk, &Backend::default(), context(7)), "lun"),
            "7"
        );
    }

    #[test]
    fn the_write_cache_is_off_for_writethrough() {
        let disk = fixtures::disk(0, "d", Bus::Virtio);
        for (cache, write_cache) in [
            (CacheMode::None, "\"on\""),
            (CacheMode::WriteBack, "\"on\""),
            (CacheMode::WriteThrough, "\"off\""),
        ] {
            let backend = Backend {
                cache,
                ..Backend::default()
            };
            assert_eq!(
                text(&device(&disk, &backend, context(0)), "write-cache"),
                write_cache
            );
        }
    }
}

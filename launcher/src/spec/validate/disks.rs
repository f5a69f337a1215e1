//! Disks, each joined with its volume.

use std::collections::{HashMap, HashSet};

use super::text::dns_label;
use super::unique::Taken;
use super::volumes::{Backing, volumes};
use super::{choose, given};
use crate::machine::pci::PciAddress;
use crate::spec::disk::{Bus, Cache, Disk, DiskKind, ErrorPolicy, Io, Source};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{self, VmiSpec};
use crate::vmi::path::Path;
use crate::vmi::shortened;

const MOST_SERIAL_BYTES: usize = 256;
/// virtio-blk's VIRTIO_BLK_ID_BYTES, and ATA's serial number.
const SEEN_SERIAL_BYTES: usize = 20;

const BUSES: [(&str, Bus); 3] = [
    ("virtio", Bus::Virtio),
    ("sata", Bus::Sata),
    ("scsi", Bus::Scsi),
];
const CDROM_BUSES: [(&str, Bus); 2] = [("sata", Bus::Sata), ("scsi", Bus::Scsi)];

pub(super) fn disks(spec: &VmiSpec, taken: &mut Taken, out: &mut Findings) -> Vec<Disk> {
    let list = Path::of("spec.domain.devices.disks");
    let written = &spec.domain.devices.disks;
    let mut volumes = volumes(&spec.volumes, out);
    let mut names = HashSet::new();
    let mut disks = Vec::new();
    for (index, disk) in written.iter().enumerate() {
        let path = list.index(index);
        let name = given(&disk.name).unwrap_or_default();
        if !disk_name(name, names.insert(name), &path.key("name"), out) {
            continue;
        }
        let volume = volumes.remove(name);
        disks.extend(one(disk, name, volume, path, taken, out));
    }
    let all_named = written.iter().all(|disk| given(&disk.name).is_some());
    if all_named {
        without_disk(&volumes, out);
    }
    disks
}

/// Whether the name can be looked up.
fn disk_name(name: &str, is_new: bool, at: &Path, out: &mut Findings) -> bool {
    if name.is_empty() {
        out.refuse(at, "it is missing", "give the disk the name of its volume");
        return false;
    }
    if !is_new {
        out.refuse(
            at,
            format!("`{name}` is there twice"),
            "give each disk its own name",
        );
        return false;
    }
    dns_label(name, at, out);
    true
}

/// KubeVirt refuses them too: a volume that nobody sees is a slip.
fn without_disk(volumes: &HashMap<String, Backing>, out: &mut Findings) {
    for (name, volume) in volumes {
        // What is not done may need no disk.
        if volume.source.is_some() {
            out.refuse(
                &volume.path.key("name"),
                format!("no disk has the name `{}`", shortened(name)),
                "add it to `spec.domain.devices.disks`, or remove the volume",
            );
        }
    }
}

/// What `disk` or `cdrom` says.
struct Target {
    path: Path,
    kind: DiskKind,
    bus: Bus,
    read_only: bool,
    pci_address: Option<PciAddress>,
}

fn one(
    written: &mirror::Disk,
    name: &str,
    volume: Option<Backing>,
    path: Path,
    taken: &mut Taken,
    out: &mut Findings,
) -> Option<Disk> {
    let target = target(written, &path, taken, out);
    let is_cdrom = matches!(target.kind, DiskKind::CdRom { .. });
    if volume.is_none() && !is_cdrom {
        out.refuse(
            &path.key("name"),
            format!("no volume has the name `{name}`"),
            "add it to `spec.volumes`, or remove the disk",
        );
        return None;
    }
    let claim_read_only = volume.as_ref().is_some_and(|volume| volume.read_only);
    let read_only = target.read_only || claim_read_only;
    // An ATA hard disk has no way to say that it cannot be written (QEMU's ide-hd refuses it).
    if read_only && target.bus == Bus::Sata && !is_cdrom {
        out.refuse(
            &target.path,
            "a hard disk on the bus `sata` cannot be read-only",
            "use `bus: virtio` or `cdrom`",
        );
    }
    let cache = cache(written, &path, out);
    let source = match &volume {
        Some(volume) => volume.source.clone(),
        None => Some(Source::Empty),
    };
    Some(Disk {
        name: name.to_owned(),
        volume_index: volume.as_ref().map_or(0, |volume| volume.index),
        volume_path: volume
            .as_ref()
            .map_or_else(|| path.to_string(), |volume| volume.path.to_string()),
        kind: target.kind,
        bus: target.bus,
        read_only,
        cache: cache.0,
        io: cache.1,
        serial: serial(written, target.bus, &path.key("serial"), out),
        boot_order: taken.boot_order(written.boot_order, &path.key("bootOrder"), out),
        error_policy: error_policy(written, &path, out),
        iothreads: Vec::new(),
        pci_address: target.pci_address,
        // A refused source has had its say; what is wrong with the rest is found first.
        source: source?,
        path: path.to_string(),
    })
}

fn target(written: &mirror::Disk, path: &Path, taken: &mut Taken, out: &mut Findings) -> Target {
    if written.disk.is_some() && written.cdrom.is_some() {
        out.refuse(path, "it is both `disk` and `cdrom`", "keep one of the two");
    }
    match (&written.disk, &written.cdrom) {
        (_, Some(cdrom)) => cdrom_target(cdrom, path.key("cdrom"), out),
        (Some(disk), None) => disk_target(disk, path.key("disk"), taken, out),
        (None, None) => disk_target(&mirror::DiskTarget::default(), path.key("disk"), taken, out),
    }
}

fn disk_target(
    disk: &mirror::DiskTarget,
    path: Path,
    taken: &mut Taken,
    out: &mut Findings,
) -> Target {
    let what = "a bus for disks in this version";
    let bus = choose(&disk.bus, &path.key("bus"), what, &BUSES, out).unwrap_or(Bus::Sata);
    let at = path.key("pciAddress");
    let pci_address = taken.pci_address(&disk.pci_address, &at, out);
    if pci_address.is_some() && bus != Bus::Virtio {
        out.refuse(
            &at,
            "only disks on the bus `virtio` are PCI devices",
            "use `bus: virtio`, or remove it",
        );
    }
    Target {
        kind: DiskKind::Disk,
        bus,
        read_only: disk.readonly.unwrap_or(false),
        pci_address,
        path,
    }
}

fn cdrom_target(cdrom: &mirror::CdRomTarget, path: Path, out: &mut Findings) -> Target {
    let what = "a bus for CD-ROMs";
    let bus = choose(&cdrom.bus, &path.key("bus"), what, &CDROM_BUSES, out).unwrap_or(Bus::Sata);
    let trays = [("closed", false), ("open", true)];
    let tray_open = choose(
        &cdrom.tray,
        &path.key("tray"),
        "a state of the tray",
        &trays,
        out,
    );
    Target {
        kind: DiskKind::CdRom {
            tray_open: tray_open.unwrap_or(false),
        },
        bus,
        read_only: cdrom.readonly.unwrap_or(true),
        pci_address: None,
        path,
    }
}

/// Linux AIO needs O_DIRECT, which only `cache: none` has.
fn cache(written: &mirror::Disk, path: &Path, out: &mut Findings) -> (Option<Cache>, Option<Io>) {
    let caches = [
        ("none", Cache::None),
        ("writethrough", Cache::WriteThrough),
        ("writeback", Cache::WriteBack),
    ];
    let cache = choose(
        &written.cache,
        &path.key("cache"),
        "a cache mode",
        &caches,
        out,
    );
    let ios = [("native", Io::Native), ("threads", Io::Threads)];
    let io = choose(&written.io, &path.key("io"), "an I/O mode", &ios, out);
    if io == Some(Io::Native) && matches!(cache, Some(Cache::WriteThrough | Cache::WriteBack)) {
        out.refuse(
            &path.key("io"),
            "`native` needs `cache: none`",
            "use `cache: none`, or `io: threads`",
        );
    }
    (cache, io)
}

fn error_policy(written: &mirror::Disk, path: &Path, out: &mut Findings) -> ErrorPolicy {
    let policies = [
        ("stop", ErrorPolicy::Stop),
        ("ignore", ErrorPolicy::Ignore),
        ("report", ErrorPolicy::Report),
        ("enospace", ErrorPolicy::Enospace),
    ];
    choose(
        &written.error_policy,
        &path.key("errorPolicy"),
        "an error policy",
        &policies,
        out,
    )
    .unwrap_or_default()
}

fn serial(written: &mirror::Disk, bus: Bus, at: &Path, out: &mut Findings) -> Option<String> {
    let serial = given(&written.serial)?;
    let plain = serial
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte));
    if !plain {
        out.refuse(
            at,
            format!("`{}` is not a serial number", shortened(serial)),
            "use letters, digits, `_`, `.`, `+` and `-`",
        );
    } else if serial.len() > MOST_SERIAL_BYTES {
        out.refuse(
            at,
            format!(
                "it is {} bytes long, more than {MOST_SERIAL_BYTES}",
                serial.len()
            ),
            "shorten it",
        );
    } else if serial.len() > SEEN_SERIAL_BYTES && bus != Bus::Scsi {
        out.notice(
            at,
            format!("the guest sees the first {SEEN_SERIAL_BYTES} letters of it"),
        );
    }
    Some(serial.to_owned())
}

//! A VM for tests, with the disks that a test gives it.

use std::time::Duration;

use camino::Utf8Path;
use hugepages::Bytes;
use uuid::Uuid;

use crate::pod::PodPaths;
use crate::spec::cpu::Cpu;
use crate::spec::device::Devices;
use crate::spec::disk::{Bus, Disk, DiskKind, ErrorPolicy, Source};
use crate::spec::firmware::{Chassis, Clock, Firmware};
use crate::spec::iothread::Iothreads;
use crate::spec::memory::Memory;
use crate::spec::placing::Placing;
use crate::spec::{Identity, Lifecycle, RebootPolicy, Spec};

pub(super) fn spec(sources: &[(&str, Source)]) -> Spec {
    let disks = sources.iter().enumerate();
    Spec {
        identity: Identity {
            namespace: "shop".into(),
            name: "web".into(),
            uid: Uuid::from_u128(1),
            hostname: "web-host".into(),
            subdomain: None,
        },
        cpu: Cpu::default(),
        memory: Memory {
            guest: Bytes::GIB,
            hugepages: None,
            memfd: true,
            free_page_reporting: true,
        },
        firmware: firmware(),
        placement: Placing::default(),
        iothreads: Iothreads::default(),
        disks: disks
            .map(|(index, (name, source))| disk(index, name, source))
            .collect(),
        nics: Vec::new(),
        host_devices: Vec::new(),
        devices: Devices {
            graphics: true,
            video: None,
            serial_console: true,
            balloon: true,
            rng: false,
            panics: Vec::new(),
            watchdog: None,
            inputs: Vec::new(),
            virtio_transitional: false,
            disable_hotplug: false,
            block_multi_queue: false,
        },
        lifecycle: Lifecycle {
            grace_period: Duration::from_secs(30),
            start_paused: false,
            reboot_policy: RebootPolicy::Reboot,
        },
    }
}

fn firmware() -> Firmware {
    Firmware {
        machine_type: "q35".into(),
        uuid: Uuid::from_u128(2),
        serial: None,
        chassis: Chassis::default(),
        bios_serial: false,
        acpi: true,
        smm: false,
        clock: Clock::default(),
        kernel_boot: None,
    }
}

fn disk(index: usize, name: &str, source: &Source) -> Disk {
    Disk {
        name: name.into(),
        volume_index: index,
        path: format!("spec.domain.devices.disks[{index}]"),
        volume_path: format!("spec.volumes[{index}]"),
        source: source.clone(),
        kind: DiskKind::Disk,
        bus: Bus::Virtio,
        read_only: false,
        cache: None,
        io: None,
        serial: None,
        boot_order: None,
        error_policy: ErrorPolicy::Stop,
        iothreads: Vec::new(),
        pci_address: None,
    }
}

/// A pod's directories below `root`.
pub(super) fn paths(root: &Utf8Path) -> PodPaths {
    PodPaths {
        share: root.join("share"),
        private: root.join("private"),
        ephemeral: root.join("ephemeral"),
        container_disks: root.join("container-disks"),
        libvirt: root.join("libvirt"),
    }
}

/// A directory that goes when the test ends, and its path.
pub(super) fn directory() -> (tempfile::TempDir, camino::Utf8PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = Utf8Path::from_path(directory.path())
        .expect("UTF-8")
        .to_owned();
    (directory, path)
}

pub(super) fn container(image: &str) -> Source {
    Source::ContainerDisk {
        image: image.into(),
    }
}

pub(super) fn claim() -> Source {
    Source::Claim {
        claim: "data-claim".into(),
    }
}

pub(super) fn host_disk(path: &str, create: Option<Bytes>) -> Source {
    Source::HostDisk {
        path: path.into(),
        create,
    }
}

//! Disks and the volumes behind them.

use camino::Utf8PathBuf;
use hugepages::Bytes;

/// One `devices.disks[]` entry joined with its volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Disk and volume name.
    pub name: String,
    /// Index in `spec.volumes` (KubeVirt names container disks by it: `disk_<index>.img`).
    pub volume_index: usize,
    /// JSON path of the disk, for errors found later: `spec.domain.devices.disks[0]`.
    pub path: String,
    /// JSON path of the volume: `spec.volumes[0]`.
    pub volume_path: String,
    /// What backs it.
    pub source: Source,
    /// `disk`, `cdrom` or `lun`.
    pub kind: DiskKind,
    /// `bus`.
    pub bus: Bus,
    /// `readonly`.
    pub read_only: bool,
    /// `cache`, where given.
    pub cache: Option<Cache>,
    /// `io`, where given.
    pub io: Option<Io>,
    /// `serial`.
    pub serial: Option<String>,
    /// `bootOrder`, from 1.
    pub boot_order: Option<u32>,
    /// `errorPolicy`, `stop` by default.
    pub error_policy: ErrorPolicy,
    /// I/O threads that serve it, by number from 1; empty: QEMU's main loop does. All SCSI disks share their
    /// controller's.
    pub iothreads: Vec<u32>,
    /// `pciAddress` (virtio only).
    pub pci_address: Option<crate::machine::pci::PciAddress>,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `containerDisk`: read-only image with a throw-away overlay.
    ContainerDisk {
        /// `image`, for messages.
        image: String,
    },
    /// `persistentVolumeClaim` or `dataVolume`: `disk.img` on a file system, or the block device `/dev/<volume>`.
    Claim {
        /// `claimName` or the data volume's name.
        claim: String,
    },
    /// `hostDisk`.
    HostDisk {
        /// `path` on the host; in the pod KubeVirt mounts its directory at `vmi-disks/<volume>/`.
        path: Utf8PathBuf,
        /// `type: DiskOrCreate`, with `capacity`: made sparse when it does not exist.
        create: Option<Bytes>,
    },
    /// `emptyDisk`: fresh qcow2 of this size.
    EmptyDisk {
        /// `capacity`.
        capacity: Bytes,
    },
    /// `cloudInitNoCloud`: an ISO of our own making.
    CloudInitNoCloud(NoCloud),
    /// A CD-ROM without a volume: an empty drive.
    Empty,
}

/// What a NoCloud seed carries, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoCloud {
    /// `userData` or `userDataBase64`.
    pub user_data: Vec<u8>,
    /// `networkData` or `networkDataBase64`.
    pub network_data: Option<Vec<u8>>,
}

/// Which device the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// `disk`.
    Disk,
    /// `cdrom`, with its tray.
    CdRom {
        /// `tray: open`.
        tray_open: bool,
    },
}

/// `bus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk on PCI.
    Virtio,
    /// AHCI.
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// `cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// O_DIRECT, write-back.
    None,
    /// Page cache, flushed after every write.
    WriteThrough,
    /// Page cache.
    WriteBack,
}

/// `io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// Linux AIO; needs O_DIRECT.
    Native,
    /// Thread pool.
    Threads,
}

/// `errorPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorPolicy {
    /// The guest pauses.
    #[default]
    Stop,
    /// The error is dropped.
    Ignore,
    /// The guest sees it.
    Report,
    /// Pause when space is short, report otherwise.
    Enospace,
}

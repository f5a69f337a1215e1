//! Host devices that the guest gets whole: which one an interface or device means, and whether it can be had.
//!
//! ```text
//!  /etc/podinfo/network-info ┐
//!  PCIDEVICE_*, annotation   ├─► assign ─► preflight (what sysfs showed) ─► plan ─┬─► vfio (the ioctls, before QEMU)
//!  PCI_RESOURCE_*            ┘                                                    └─► iommufd (files for QEMU)
//! ```
//!
//! QEMU's own words for what goes wrong here name neither the device nor the remedy, so everything is asked before it
//! starts. With legacy groups QEMU opens `/dev/vfio/<group>` itself, so what is opened here is closed again; with iommufd it
//! is handed the files.

pub mod assign;
pub mod iommufd;
pub mod mdev;
pub mod memlock;
pub mod plan;
pub mod preflight;
pub mod vfio;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::machine::pci::PciAddress;

/// One device of the VMI with the host's device that it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The VMI's name for it.
    pub name: String,
    /// JSON path of the entry.
    pub path: String,
    /// What it is on the host.
    pub device: Host,
    /// What said so, for people.
    pub source: String,
}

/// A device of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// A function on the PCI bus.
    Pci(PciAddress),
    /// A mediated device, by its UUID below `/sys/bus/mdev/devices`.
    Mdev(Uuid),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pci(address) => address.fmt(f),
            Self::Mdev(uuid) => uuid.fmt(f),
        }
    }
}

//! Host devices that the guest gets whole: which one an interface or device means, and whether it can be had.
//!
//! ```text
//!  /etc/podinfo/network-info ┐
//!  PCIDEVICE_*, annotation   ├─► assign (pure) ─► facts (sysfs) ─► preflight (pure) ─► vfio (the ioctls themselves)
//!  PCI_RESOURCE_*            ┘
//! ```
//!
//! QEMU's own words for what goes wrong here name neither the device nor the remedy, so everything is asked before it
//! starts. With legacy groups QEMU opens `/dev/vfio/<group>` itself (it takes fds only with iommufd), so what is opened
//! here is closed again.

pub mod assign;
pub mod await_info;
pub mod facts;
pub mod memlock;
pub mod network_info;
pub mod preflight;
pub mod vfio;

use crate::machine::pci::PciAddress;

/// One device of the VMI that stands for a device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The VMI's name for it.
    pub name: String,
    /// JSON path of the entry.
    pub path: String,
    /// How it is asked for.
    pub kind: Kind,
}

/// How a device is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An interface with `sriov`, on a Multus network.
    Sriov {
        /// `multus.networkName`, for messages.
        network: String,
    },
    /// An entry of `gpus`.
    Gpu {
        /// `deviceName`: the device plugin's resource.
        resource: String,
    },
    /// An entry of `hostDevices`.
    HostDevice {
        /// `deviceName`: the device plugin's resource.
        resource: String,
    },
}

/// One device with the host's device that it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The VMI's name for it.
    pub name: String,
    /// JSON path of the entry.
    pub path: String,
    /// What it is on the host.
    pub device: HostDevice,
    /// What said so, for people.
    pub source: String,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostDevice {
    /// A function on the PCI bus.
    Pci(PciAddress),
    /// A mediated device, by its UUID below `/sys/bus/mdev/devices`.
    Mdev(uuid::Uuid),
}

//! Host devices that the guest gets whole.

use crate::machine::pci::PciAddress;

/// Names a VF where nothing else does: `fast=0000:82:02.1,other=0000:82:02.2`.
pub const ANNOTATION: &str = "virt-launcher.kubevirt.io/sriov-devices";

/// One device of the VMI that stands for a device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// The VMI's name for it.
    pub name: String,
    /// JSON path of the entry.
    pub path: String,
    /// How it is asked for.
    pub kind: Kind,
    /// `bootOrder`, from 1.
    pub boot_order: Option<u32>,
    /// `pciAddress`: where the guest sees it.
    pub pci_address: Option<PciAddress>,
    /// For SR-IOV what [`ANNOTATION`] says of it.
    pub told: Option<PciAddress>,
}

/// How a device is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An interface with `sriov`.
    Sriov {
        /// `multus.networkName`.
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

impl HostDevice {
    /// KubeVirt's alias for it, as QEMU's id (facts 4.6, 7.9).
    pub fn id(&self) -> String {
        let kind = match self.kind {
            Kind::Sriov { .. } => "sriov",
            Kind::Gpu { .. } => "gpu",
            Kind::HostDevice { .. } => "hostdevice",
        };
        format!("ua-{kind}-{}", self.name)
    }

    /// An interface of the VMI.
    pub fn is_nic(&self) -> bool {
        matches!(self.kind, Kind::Sriov { .. })
    }
}

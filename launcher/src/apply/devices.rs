//! Host devices, asked for once before QEMU asks: its own words for a refusal name neither the device nor the remedy.

use std::collections::BTreeSet;
use std::io;

use hugepages::Bytes;
use numa::HostRoot;

use crate::passthrough::iommufd;
use crate::passthrough::plan::{Passed, PassthroughPlan};
use crate::passthrough::vfio::{self, GroupError};

/// A device that the guest cannot get.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// vfio refuses its group.
    #[error("{path}: `{device}` cannot be given to the guest: {why}; {}", why.hint())]
    Group {
        /// JSON path of the VMI's field.
        path: String,
        /// The device on the host.
        device: String,
        /// What stands in the way; no source, which would be told behind the remedy once more.
        why: GroupError,
    },
    /// The limit on locked memory stays as it is.
    #[error("QEMU's limit on locked memory cannot be raised to `{needed}`")]
    Memlock {
        /// What is needed.
        needed: Bytes,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Each IOMMU group once, or each device's file, with the first device in it; then the limit on locked memory, which QEMU inherits from PID 1.
pub fn prepare(plan: &PassthroughPlan, root: &HostRoot) -> Result<(), DeviceError> {
    let mut asked = BTreeSet::new();
    for device in &plan.devices {
        let Some(group) = device.group else { continue };
        let asked = match &device.cdev {
            Some(cdev) => iommufd::check(root, cdev, group),
            None if asked.insert(group) => vfio::probe_group(root, group),
            None => Ok(()),
        };
        asked.map_err(|why| refused(device, why))?;
    }
    match plan.memlock {
        None => Ok(()),
        Some(needed) => {
            vfio::raise_memlock(1, needed).map_err(|source| DeviceError::Memlock { needed, source })
        }
    }
}

/// Why a QEMU that has ended could not take a device whose file it was handed: only binding tells, and that was QEMU's.
pub fn explain(plan: &PassthroughPlan, root: &HostRoot) -> Option<DeviceError> {
    plan.devices.iter().find_map(|device| {
        let (cdev, group) = (device.cdev.as_ref()?, device.group?);
        let members = root.sys(&format!("kernel/iommu_groups/{group}/devices"));
        let alone = members.read_dir_utf8().is_ok_and(|list| list.count() == 1);
        let why = iommufd::bind(root, cdev, group, alone).err()?;
        Some(refused(device, why))
    })
}

fn refused(device: &Passed, why: GroupError) -> DeviceError {
    DeviceError::Group {
        path: device.path.clone(),
        device: device.device.to_string(),
        why,
    }
}

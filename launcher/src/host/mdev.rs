//! What sysfs tells of a mediated device (the kernel's `Documentation/driver-api/vfio-mediated-device.rst`).

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use numa::{FactError, HostRoot, NodeId, Topology, file};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::machine::pci::PciAddress;

/// A mediated device and what stands around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MdevFacts {
    /// Its type, as its maker calls it: `nvidia-63 (GRID A10-4Q)`.
    pub kind: Option<String>,
    /// The driver that has it.
    pub driver: Option<String>,
    /// Its IOMMU group, the name below `/dev/vfio`.
    pub group: Option<u32>,
    /// The device that it is a part of, where that is on the PCI bus.
    pub parent: Option<PciAddress>,
    /// The host node of that one.
    pub node: Option<NodeId>,
}

impl MdevFacts {
    /// Reads what stands about `uuid`; none when there is no such device.
    ///
    /// # Errors
    ///
    /// [`FactError`] for a file that cannot be read or is malformed.
    pub fn read(
        root: &HostRoot,
        uuid: Uuid,
        topology: &Topology,
    ) -> Result<Option<Self>, FactError> {
        let device = root.sys(&format!("bus/mdev/devices/{uuid}"));
        if !device.exists() {
            return Ok(None);
        }
        let link = device.join("iommu_group");
        let group =
            match target(&link) {
                None => None,
                Some(name) => Some(name.parse().map_err(|_| {
                    FactError::malformed(&link, &name, "a link to a group's number")
                })?),
            };
        let parent = parent(&device);
        let node = match parent {
            None => None,
            Some(address) => numa::pci_locality(root, &address.to_string(), topology)?.node(),
        };
        Ok(Some(Self {
            kind: kind(&device.join("mdev_type"))?,
            driver: target(&device.join("driver")),
            group,
            parent,
            node,
        }))
    }
}

/// Its directory's name, and the file `name` in it, which not every maker writes.
fn kind(directory: &Utf8Path) -> Result<Option<String>, FactError> {
    let Some(id) = target(directory) else {
        return Ok(None);
    };
    let name = file::head(&directory.join("name"), 256)?.unwrap_or_default();
    Ok(Some(match name.trim() {
        "" => id,
        name => format!("{id} ({name})"),
    }))
}

/// The directory above the device's own.
fn parent(device: &Utf8Path) -> Option<PciAddress> {
    let own = Utf8PathBuf::try_from(fs::canonicalize(device).ok()?).ok()?;
    own.parent()?.file_name()?.parse().ok()
}

/// The last name of what a link points to.
fn target(link: &Utf8Path) -> Option<String> {
    let target = Utf8PathBuf::try_from(fs::read_link(link).ok()?).ok()?;
    Some(target.file_name()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;

    const UUID: &str = "4b20d080-1b54-4048-85b3-a6a62d165c01";

    /// A vGPU as a vendor's driver lays it out below its card.
    fn host() -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap());
        let card = root.sys("devices/pci0000:3a/0000:3b:00.0");
        let device = card.join(UUID);
        let kind = card.join("mdev_supported_types/nvidia-63");
        for directory in [&device, &kind, &root.sys("bus/mdev/devices")] {
            create_dir_all(directory).unwrap();
        }
        write(kind.join("name"), "GRID A10-4Q\n").unwrap();
        symlink(
            "../mdev_supported_types/nvidia-63",
            device.join("mdev_type"),
        )
        .unwrap();
        symlink("../../bus/mdev/drivers/vfio_mdev", device.join("driver")).unwrap();
        symlink("../../kernel/iommu_groups/71", device.join("iommu_group")).unwrap();
        symlink(&device, root.sys(&format!("bus/mdev/devices/{UUID}"))).unwrap();
        (folder, root)
    }

    fn read(root: &HostRoot) -> Result<Option<MdevFacts>, FactError> {
        MdevFacts::read(root, UUID.parse().unwrap(), &Topology::default())
    }

    #[test]
    fn a_vgpu_is_read_with_its_card() {
        let (_folder, root) = host();
        let facts = read(&root).unwrap().unwrap();
        assert_eq!(facts.kind.as_deref(), Some("nvidia-63 (GRID A10-4Q)"));
        assert_eq!(facts.driver.as_deref(), Some("vfio_mdev"));
        assert_eq!(facts.group, Some(71));
        assert_eq!(facts.parent, Some("0000:3b:00.0".parse().unwrap()));
    }

    #[test]
    fn what_is_not_there_is_none_and_nonsense_is_an_error() {
        let (_folder, root) = host();
        let device = root.sys(&format!("devices/pci0000:3a/0000:3b:00.0/{UUID}"));
        fs::remove_file(device.join("mdev_type")).unwrap();
        assert_eq!(read(&root).unwrap().unwrap().kind, None);
        fs::remove_file(device.join("iommu_group")).unwrap();
        symlink("../../kernel/iommu_groups/many", device.join("iommu_group")).unwrap();
        assert!(read(&root).is_err());
        fs::remove_file(root.sys(&format!("bus/mdev/devices/{UUID}"))).unwrap();
        assert_eq!(read(&root).unwrap(), None);
    }
}

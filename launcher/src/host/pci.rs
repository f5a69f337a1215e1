//! What sysfs tells of a device that is to be passed through.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use numa::{FactError, HostRoot, NodeId, Topology, file};
use serde::{Deserialize, Serialize};

use crate::machine::pci::PciAddress;

/// A PCI function and what stands around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciFacts {
    /// Where it is.
    pub address: PciAddress,
    /// The driver that has it.
    pub driver: Option<String>,
    /// `vendor:device`, as `lspci -n` writes it.
    pub id: String,
    /// The function that this one is a VF of.
    pub physical: Option<PciAddress>,
    /// The host node it is on, where anything tells.
    pub node: Option<NodeId>,
    /// Its IOMMU group; none without an IOMMU.
    pub group: Option<Group>,
    /// Its name among vfio's devices, whether or not it has a file.
    pub cdev: Option<String>,
    /// `/dev/vfio/devices/<cdev>` is there, for iommufd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cdev_file: bool,
    /// Ways to reset it, by preference; none: it cannot be reset.
    pub reset_methods: Vec<String>,
    /// Sizes of its memory regions in bytes.
    pub bars: Vec<u64>,
}

/// Devices that the IOMMU cannot tell apart, so that they can only go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its number, the name below `/dev/vfio`.
    pub id: u32,
    /// Everything in it, the device itself included.
    pub members: Vec<Member>,
}

/// A device of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it is.
    pub address: PciAddress,
    /// The driver that has it.
    pub driver: Option<String>,
    /// vfio has it, by whichever driver.
    pub vfio: bool,
}

/// A device's own file, for iommufd.
pub fn cdev_path(root: &HostRoot, cdev: &str) -> Utf8PathBuf {
    root.dev(&format!("vfio/devices/{cdev}"))
}

impl PciFacts {
    /// Reads what stands about `address`; none when there is no such device.
    ///
    /// # Errors
    ///
    /// [`FactError`] for a file that cannot be read or is malformed.
    pub fn read(
        root: &HostRoot,
        address: PciAddress,
        topology: &Topology,
    ) -> Result<Option<Self>, FactError> {
        let directory = root.sys(&format!("bus/pci/devices/{address}"));
        if !directory.exists() {
            return Ok(None);
        }
        let text = |name: &str| -> Result<String, FactError> {
            let text = file::head(&directory.join(name), 4096)?.unwrap_or_default();
            Ok(text.trim().to_owned())
        };
        let cdev = entries(&directory.join("vfio-dev")).into_iter().next();
        let file = cdev.as_ref().map(|name| cdev_path(root, name));
        let hex = |text: String| text.trim_start_matches("0x").to_owned();
        Ok(Some(Self {
            address,
            driver: target(&directory.join("driver")),
            id: format!("{}:{}", hex(text("vendor")?), hex(text("device")?)),
            physical: target(&directory.join("physfn")).and_then(|name| name.parse().ok()),
            node: numa::pci_locality(root, &address.to_string(), topology)?.node(),
            group: group(&directory)?,
            cdev,
            cdev_file: file.is_some_and(|file| file.exists()),
            reset_methods: text("reset_method")?
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            bars: bars(&directory.join("resource"))?,
        }))
    }

    /// What iommufd opens, where the pod has it.
    pub fn openable_cdev(&self) -> Option<String> {
        self.cdev.clone().filter(|_| self.cdev_file)
    }

    /// vfio has it: by vfio-pci or a driver of the vendor's that stands in for it.
    pub fn is_vfio(&self) -> bool {
        self.cdev.is_some() || self.driver.as_deref().is_some_and(is_vfio_driver)
    }
}

/// `vfio-pci`, and drivers of vendors that extend it (`mlx5_vfio_pci`, `hisi_acc_vfio_pci`).
fn is_vfio_driver(name: &str) -> bool {
    name.replace('_', "-").ends_with("vfio-pci")
}

fn group(directory: &Utf8Path) -> Result<Option<Group>, FactError> {
    let link = directory.join("iommu_group");
    let Some(name) = target(&link) else {
        return Ok(None);
    };
    let id = name
        .parse()
        .map_err(|_| FactError::malformed(&link, &name, "a link to a group's number"))?;
    let devices = link.join("devices");
    let members = entries(&devices).into_iter().filter_map(|name| {
        let device = devices.join(&name);
        let driver = target(&device.join("driver"));
        Some(Member {
            address: name.parse().ok()?,
            vfio: driver.as_deref().is_some_and(is_vfio_driver) || device.join("vfio-dev").exists(),
            driver,
        })
    });
    Ok(Some(Group {
        id,
        members: members.collect(),
    }))
}

/// Lines `start end flags` of each region (`pci_resource_to_user`); those of length nought are not there. The regions are
/// the first six lines, then come the ROM and bridge windows.
fn bars(path: &Utf8Path) -> Result<Vec<u64>, FactError> {
    const IORESOURCE_MEM: u64 = 0x200;
    let text = file::read(path, file::USUAL_LIMIT)?.unwrap_or_default();
    let mut sizes = Vec::new();
    for line in text.lines().take(6) {
        let number = |word: Option<&str>| {
            word.and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok())
                .ok_or_else(|| FactError::malformed(path, line, "three hexadecimal numbers"))
        };
        let mut words = line.split_whitespace();
        let (start, end, flags) = (
            number(words.next())?,
            number(words.next())?,
            number(words.next())?,
        );
        if flags & IORESOURCE_MEM != 0 && end > start {
            sizes.push(end - start + 1);
        }
    }
    Ok(sizes)
}

/// The last name of what a link points to.
fn target(link: &Utf8Path) -> Option<String> {
    let target = Utf8PathBuf::try_from(fs::read_link(link).ok()?).ok()?;
    Some(target.file_name()?.to_owned())
}

fn entries(directory: &Utf8Path) -> Vec<String> {
    let Ok(list) = directory.read_dir_utf8() else {
        return Vec::new();
    };
    let mut names: Vec<String> = list
        .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A VF in a group with its neighbour, as the kernel lays them out.
    fn host() -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        for (address, driver) in [("0000:82:02.1", "vfio-pci"), ("0000:82:02.2", "igbvf")] {
            let device = sys.join("devices").join(address);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::create_dir_all(sys.join("bus/pci/drivers").join(driver)).unwrap();
            symlink(
                format!("../../bus/pci/drivers/{driver}"),
                device.join("driver"),
            )
            .unwrap();
            symlink("../../kernel/iommu_groups/17", device.join("iommu_group")).unwrap();
            for directory in ["bus/pci/devices", "kernel/iommu_groups/17/devices"] {
                std::fs::create_dir_all(sys.join(directory)).unwrap();
                symlink(device.clone(), sys.join(directory).join(address)).unwrap();
            }
            std::fs::write(device.join("vendor"), "0x8086\n").unwrap();
            std::fs::write(device.join("device"), "0x1520\n").unwrap();
            std::fs::write(device.join("numa_node"), "1\n").unwrap();
            std::fs::write(device.join("reset_method"), "flr bus\n").unwrap();
            std::fs::write(
                device.join("resource"),
                "0x00000000c0000000 0x00000000c0003fff 0x0000000000140204\n\
                 0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                 0x0000000000001000 0x000000000000103f 0x0000000000040101\n",
            )
            .unwrap();
            symlink("../0000:82:00.0", device.join("physfn")).unwrap();
        }
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap());
        (folder, root)
    }

    #[test]
    fn a_vf_is_read_with_its_group() {
        let (_folder, root) = host();
        let facts = PciFacts::read(&root, "0000:82:02.1".parse().unwrap(), &Topology::default())
            .unwrap()
            .unwrap();
        assert!(facts.is_vfio());
        assert_eq!(facts.id, "8086:1520");
        assert_eq!(facts.physical, Some("0000:82:00.0".parse().unwrap()));
        assert_eq!(facts.reset_methods, ["flr", "bus"]);
        // The port region is no memory.
        assert_eq!(facts.bars, [0x4000]);
        let group = facts.group.unwrap();
        assert_eq!(group.id, 17);
        let members: Vec<_> = group
            .members
            .iter()
            .map(|member| (member.address.to_string(), member.vfio))
            .collect();
        assert_eq!(
            members,
            [
                ("0000:82:02.1".to_owned(), true),
                ("0000:82:02.2".to_owned(), false)
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_none_and_nonsense_is_an_error() {
        let (folder, root) = host();
        assert_eq!(
            PciFacts::read(&root, "0000:82:02.3".parse().unwrap(), &Topology::default()).unwrap(),
            None
        );
        std::fs::write(
            folder.path().join("sys/devices/0000:82:02.1/resource"),
            "x y z\n",
        )
        .unwrap();
        assert!(
            PciFacts::read(&root, "0000:82:02.1".parse().unwrap(), &Topology::default()).is_err()
        );
    }

    #[test]
    fn vendors_own_vfio_drivers_are_known() {
        for name in ["vfio-pci", "mlx5_vfio_pci", "nvgrace_gpu_vfio_pci"] {
            assert!(is_vfio_driver(name), "{name}");
        }
        assert!(!is_vfio_driver("igbvf"));
    }
}

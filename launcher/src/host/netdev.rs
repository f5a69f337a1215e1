//! Links that are virtual functions with their driver on the host, as sysfs shows them.
//!
//! What the physical function allows its VFs (trust, spoof check) stands only in its own netlink messages
//! (`IFLA_VFINFO_LIST`), and it is in the host's network namespace: from a pod it cannot be known.

use std::collections::BTreeMap;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use numa::HostRoot;
use serde::{Deserialize, Serialize};

use super::Link;
use crate::machine::pci::PciAddress;

/// A VF behind a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkVf {
    /// Its physical function.
    pub physical: PciAddress,
    /// Its number there, as `ip link set PF vf NUMBER` takes it.
    pub number: Option<u32>,
}

/// The VFs among `links`, by the link's name.
pub(super) fn read(root: &HostRoot, links: &[Link]) -> BTreeMap<String, LinkVf> {
    let of = |link: &Link| {
        let device = root.sys(&format!("class/net/{}/device", link.name));
        let physical = target(&device.join("physfn"))?.parse().ok()?;
        let vf = LinkVf {
            physical,
            number: number(&device),
        };
        Some((link.name.clone(), vf))
    };
    links.iter().filter_map(of).collect()
}

/// By the link `virtfnN` of its physical function that leads back to it.
fn number(device: &Utf8Path) -> Option<u32> {
    let own = target(device)?;
    let physical = device.join("physfn");
    physical.read_dir_utf8().ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().strip_prefix("virtfn")?.parse().ok()?;
        (target(entry.path())? == own).then_some(number)
    })
}

/// The last name of what a link points to.
fn target(link: &Utf8Path) -> Option<String> {
    let target = Utf8PathBuf::try_from(fs::read_link(link).ok()?).ok()?;
    Some(target.file_name()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::create_dir_all;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_vf_is_known_by_its_physical_function_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap());
        let devices = root.sys("devices");
        for address in ["0000:41:00.0", "0000:41:10.0", "0000:41:10.2"] {
            create_dir_all(devices.join(address)).unwrap();
        }
        for (number, address) in [(0, "0000:41:10.0"), (1, "0000:41:10.2")] {
            let physical = devices.join("0000:41:00.0");
            symlink(
                format!("../{address}"),
                physical.join(format!("virtfn{number}")),
            )
            .unwrap();
            symlink("../0000:41:00.0", devices.join(address).join("physfn")).unwrap();
        }
        let link = |name: &str| Link {
            index: 2,
            name: name.to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            controller: None,
            addresses: Vec::new(),
            addresses6: Vec::new(),
            routes: Vec::new(),
        };
        for (name, address) in [("net1", Some("0000:41:10.2")), ("eth0", None)] {
            let at = root.sys(&format!("class/net/{name}"));
            create_dir_all(&at).unwrap();
            if let Some(address) = address {
                symlink(format!("../../../devices/{address}"), at.join("device")).unwrap();
            }
        }
        let found = read(&root, &[link("net1"), link("eth0")]);
        let expected = LinkVf {
            physical: "0000:41:00.0".parse().unwrap(),
            number: Some(1),
        };
        assert_eq!(found, [("net1".to_owned(), expected)].into());
    }
}

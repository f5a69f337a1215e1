//! `sys/devices/pci*` and `sys/bus/pci`.

use super::{Host, Tree};

/// One PCI device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its place below `sys/devices`: `pci0000:80/0000:80:02.0/0000:82:02.1`.
    pub path: &'static str,
    /// `numa_node`.
    pub node: i32,
    /// `local_cpulist`; none: all that are online, as the kernel has it for -1.
    pub local: Option<&'static str>,
    /// What it is.
    pub kind: Kind,
}

/// What a device is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A bridge.
    Bridge,
    /// A NIC's physical function.
    Physical,
    /// One of its virtual functions, bound to vfio-pci, alone in its IOMMU group.
    Virtual {
        /// The group.
        group: u32,
    },
}

impl Device {
    /// `0000:82:02.1`.
    pub fn address(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

impl Host {
    pub(super) fn write_devices(&self, tree: &mut Tree) {
        for device in &self.devices {
            let Device { path, node, .. } = device;
            let (directory, address) = (format!("sys/devices/{path}"), device.address());
            tree.link(
                format!("sys/bus/pci/devices/{address}"),
                format!("../../../devices/{path}"),
            );
            tree.line(format!("{directory}/numa_node"), node);
            let local = device
                .local
                .map_or_else(|| self.online().to_string(), str::to_owned);
            tree.line(format!("{directory}/local_cpulist"), local);
            tree.line(format!("{directory}/vendor"), "0x8086");
            let (class, id) = match device.kind {
                Kind::Bridge => ("0x060400", "0x347a"),
                Kind::Physical => ("0x020000", "0x1572"),
                Kind::Virtual { .. } => ("0x020000", "0x154c"),
            };
            tree.line(format!("{directory}/class"), class);
            tree.line(format!("{directory}/device"), id);
            match device.kind {
                Kind::Bridge => {}
                Kind::Physical => {
                    let siblings = self.virtual_functions_of(device).count();
                    tree.line(format!("{directory}/sriov_numvfs"), siblings);
                    tree.line(format!("{directory}/sriov_totalvfs"), 64);
                }
                Kind::Virtual { group } => self.write_virtual(tree, device, group),
            }
        }
        if self
            .devices
            .iter()
            .any(|device| matches!(device.kind, Kind::Virtual { .. }))
        {
            tree.file("sys/bus/pci/drivers/vfio-pci/new_id", "");
            tree.file("dev/vfio/vfio", "");
        }
    }

    fn write_virtual(&self, tree: &mut Tree, device: &Device, group: u32) {
        let (path, address) = (device.path, device.address());
        let directory = format!("sys/devices/{path}");
        // `devices` and the path's own parts.
        let up = "../".repeat(path.split('/').count() + 1);
        let physical = self
            .devices
            .iter()
            .find(|other| self.virtual_functions_of(other).any(|vf| vf.path == path))
            .expect("a virtual function has its physical one beside it");
        tree.link(
            format!("{directory}/physfn"),
            format!("../{}", physical.address()),
        );
        tree.link(
            format!("{directory}/driver"),
            format!("{up}bus/pci/drivers/vfio-pci"),
        );
        tree.link(
            format!("{directory}/iommu_group"),
            format!("{up}kernel/iommu_groups/{group}"),
        );
        tree.link(
            format!("sys/kernel/iommu_groups/{group}/devices/{address}"),
            format!("../../../../devices/{path}"),
        );
        tree.file(format!("dev/vfio/{group}"), "");
    }

    /// Those of the same bus.
    fn virtual_functions_of<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = &'a Device> {
        let bus = |device: &Device| device.path.rsplit_once('/').map(|(bus, _)| bus.to_owned());
        self.devices.iter().filter(move |other| {
            matches!(device.kind, Kind::Physical)
                && matches!(other.kind, Kind::Virtual { .. })
                && bus(other) == bus(device)
        })
    }
}

//! Reads [`HostFacts`], one reader a file.

use std::collections::BTreeMap;

use hugepages::Bytes;
use numa::{Allowed, Cgroup, ControlFile, FactError, HostRoot, Topology, file};
use uuid::Uuid;

use super::mdev::MdevFacts;
use super::network_info::NetworkDevice;
use super::pci::PciFacts;
use super::podinfo::{self, PodinfoError};
use super::{HostFacts, Link, cpuinfo, environment, memlock, netdev, resolver, rights, vif_cache};
use crate::machine::pci::PciAddress;

/// Facts that no plan can be made from.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file of the host's.
    #[error(transparent)]
    File(#[from] FactError),
    /// What the controller wrote of the pod's networks.
    #[error(transparent)]
    Podinfo(#[from] PodinfoError),
    /// The tree tells of no CPU that this process may use.
    #[error("`{root}` shows no {what} that this process may use")]
    NoneAllowed {
        /// What stands for `/`.
        root: camino::Utf8PathBuf,
        /// `CPU` or `memory node`.
        what: &'static str,
    },
}

impl FactsError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(_) | Self::Podinfo(_) => None,
            Self::NoneAllowed { .. } => Some(
                "the cgroup's cpuset and the `Cpus_allowed_list` and `Mems_allowed_list` of `proc/self/status` must have something in common; a directory given with `--host` needs `proc/self/status`, or `online` below `sys/devices/system/{cpu,node}`",
            ),
        }
    }
}

const MEMORY: ControlFile<'_> = ControlFile {
    controller: "memory",
    v2: "memory.max",
    v1: "memory.limit_in_bytes",
};

impl HostFacts {
    /// Everything below `root`, with the `links` that netlink or [`super::links_from`] gave. A file that is not
    /// there is a fact, not an error; one that is malformed or unreadable is an error with its path.
    pub fn read(root: &HostRoot, links: Vec<Link>) -> Result<Self, FactsError> {
        let cgroup = Cgroup::read(root)?;
        let Allowed {
            cpus,
            mems,
            disagreements,
        } = numa::allowed(root, &cgroup)?;
        let nothing = |what| FactsError::NoneAllowed {
            root: root.path().to_owned(),
            what,
        };
        if cpus.is_empty() {
            return Err(nothing("CPU"));
        }
        if mems.is_empty() {
            return Err(nothing("memory node"));
        }
        let topology = Topology::read(root)?;
        let pools = hugepages::pools(root)?;
        let environment = environment::read(root)?;
        let network_info = podinfo::read(root)?;
        Ok(Self {
            cpus,
            mems,
            disagreements,
            hugetlb: hugepages::limits(&cgroup, &hugepages::sizes(&pools))?,
            pools,
            mbind: rights::mbind(root),
            realtime: rights::realtime(root)?,
            cpu: cpuinfo::read(root)?,
            memory_limit: cgroup.limit(&MEMORY)?.map(Bytes),
            kvm: root.dev("kvm").exists(),
            vhost_net: root.dev("vhost-net").exists(),
            tun: root.dev("net/tun").exists(),
            iommufd: root.dev("iommu").exists(),
            net_raw: rights::net_raw(root)?,
            hostname: hostname(root)?,
            resolver: resolver::read(root)?,
            vif_caches: vif_cache::read(root, &links)?,
            link_vfs: netdev::read(root, &links),
            links,
            mdevs: mdevs(root, &topology, &environment)?,
            pci: pci(
                root,
                &topology,
                named(&environment, network_info.as_deref()),
            )?,
            topology,
            environment,
            network_info,
            memlock: memlock::read(root)?,
        })
    }

    /// Reads what stands about PCI functions that only the VMI names.
    ///
    /// # Errors
    /// [`FactsError`] for a file that is malformed or unreadable.
    pub fn read_pci(
        &mut self,
        root: &HostRoot,
        addresses: impl IntoIterator<Item = PciAddress>,
    ) -> Result<(), FactsError> {
        let found = pci(root, &self.topology, addresses)?;
        self.pci.extend(found);
        Ok(())
    }

    /// Takes what the controller has written since.
    ///
    /// # Errors
    /// As [`Self::read_pci`].
    pub fn take_network_info(
        &mut self,
        root: &HostRoot,
        devices: Vec<NetworkDevice>,
    ) -> Result<(), FactsError> {
        self.read_pci(root, devices.iter().filter_map(|device| device.address))?;
        self.network_info = Some(devices);
        Ok(())
    }
}

/// The kernel's own name for itself, else the one that it was to get.
fn hostname(root: &HostRoot) -> Result<String, FactError> {
    for path in [root.proc("sys/kernel/hostname"), root.etc("hostname")] {
        let name = file::head(&path, 256)?.unwrap_or_default();
        let name = name.trim();
        if !name.is_empty() && name != "(none)" {
            return Ok(name.to_owned());
        }
    }
    Ok("localhost".to_owned())
}

/// Addresses in variables of device plugins, and in network-info.
fn named<'a>(
    environment: &'a BTreeMap<String, String>,
    network_info: Option<&'a [NetworkDevice]>,
) -> impl Iterator<Item = PciAddress> + 'a {
    let listed = environment
        .iter()
        .filter(|(name, _)| name.starts_with("PCIDEVICE_") || name.starts_with("PCI_RESOURCE_"))
        .flat_map(|(_, value)| value.split(','))
        .filter_map(|entry| entry.trim().parse().ok());
    let recorded = network_info
        .unwrap_or_default()
        .iter()
        .filter_map(|device| device.address);
    listed.chain(recorded)
}

/// As KubeVirt's plugin lists them; what is no UUID is told where it is to be used.
fn mdevs(
    root: &HostRoot,
    topology: &Topology,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<Uuid, MdevFacts>, FactsError> {
    let mut all = BTreeMap::new();
    for uuid in environment
        .iter()
        .filter(|(name, _)| name.starts_with("MDEV_PCI_RESOURCE_"))
        .flat_map(|(_, value)| value.split(','))
        .filter_map(|entry| entry.trim().parse().ok())
    {
        if let Some(facts) = MdevFacts::read(root, uuid, topology)? {
            all.insert(uuid, facts);
        }
    }
    Ok(all)
}

fn pci(
    root: &HostRoot,
    topology: &Topology,
    addresses: impl IntoIterator<Item = PciAddress>,
) -> Result<BTreeMap<PciAddress, PciFacts>, FactsError> {
    let mut all = BTreeMap::new();
    for address in addresses {
        if let Some(facts) = PciFacts::read(root, address, topology)? {
            all.insert(address, facts);
        }
    }
    Ok(all)
}

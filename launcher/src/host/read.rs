//! Reads [`HostFacts`], one reader a file.

use hugepages::Bytes;
use numa::{Allowed, Cgroup, ControlFile, FactError, HostRoot, Topology, file};

use super::{HostFacts, Link, cpuinfo, environment, plugin, resolver, rights, vif_cache};

/// Facts that no plan can be made from.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file of the host's.
    #[error(transparent)]
    File(#[from] FactError),
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
            Self::File(_) => None,
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
        let environment = environment::read(root)?;
        let pools = hugepages::pools(root)?;
        Ok(Self {
            cpus,
            mems,
            disagreements,
            devices: plugin::read(root, &environment, &topology)?,
            topology,
            hugetlb: hugepages::limits(&cgroup, &hugepages::sizes(&pools))?,
            pools,
            mbind: rights::mbind(root),
            realtime: rights::realtime(root)?,
            cpu: cpuinfo::read(root)?,
            memory_limit: cgroup.limit(&MEMORY)?.map(Bytes),
            kvm: root.dev("kvm").exists(),
            vhost_net: root.dev("vhost-net").exists(),
            tun: root.dev("net/tun").exists(),
            hostname: hostname(root)?,
            resolver: resolver::read(root)?,
            vif_caches: vif_cache::read(root, &links)?,
            links,
            environment,
        })
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

//! The kernel's pools of huge pages, by node and size, and what a control group lets one take of them.

use numa::{Cgroup, ControlFile, CpuSet, FactError, HostRoot, NodeId, file};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::page_size::PageSize;

/// One pool: pages of one size on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The node; 0 where the kernel has no NUMA.
    pub node: NodeId,
    /// Bytes a page.
    pub size: PageSize,
    /// Pages in the pool, surplus ones included (`nr_hugepages`).
    pub pages: u64,
    /// Pages that nobody has touched yet. Reserved ones count as free here: only a fault takes a page.
    pub free: u64,
    /// Pages above the pool's own size, given back when freed.
    pub surplus: u64,
}

/// All pools, by node, then size; empty ones too.
pub fn pools(root: &HostRoot) -> Result<Vec<Pool>, FactError> {
    let path = root.sys("devices/system/node/online");
    let online: Option<CpuSet> = file::value(&path, "a list such as `0-3,8`")?;
    let Some(online) = online else {
        return pools_in(&root.sys("kernel/mm/hugepages"), NodeId(0));
    };
    let mut pools = Vec::new();
    for id in online.iter() {
        let directory = root.sys(&format!("devices/system/node/node{id}/hugepages"));
        pools.extend(pools_in(&directory, NodeId(id))?);
    }
    Ok(pools)
}

fn pools_in(directory: &camino::Utf8Path, node: NodeId) -> Result<Vec<Pool>, FactError> {
    let mut pools = Vec::new();
    for name in file::names(directory)? {
        let Some(size) = PageSize::from_sysfs_name(&name) else {
            continue;
        };
        let pool = directory.join(&name);
        let count = |name| -> Result<u64, FactError> {
            Ok(file::value(&pool.join(name), "a number of pages")?.unwrap_or(0))
        };
        pools.push(Pool {
            node,
            size,
            pages: count("nr_hugepages")?,
            free: count("free_hugepages")?,
            surplus: count("surplus_hugepages")?,
        });
    }
    pools.sort_by_key(|pool| pool.size);
    Ok(pools)
}

/// The most that this process's control groups let it have in pages of `size`: the lowest of the limits on use
/// and on reservations, own group and those above. None where nothing is limited.
///
/// The kubelet sets it to what the pod asked for, 0 for a pod that asked for nothing.
pub fn cgroup_limit(cgroup: &Cgroup, size: PageSize) -> Result<Option<Bytes>, FactError> {
    let form = size.cgroup_form();
    let limit = |v2: &str, v1: &str| {
        cgroup.limit(&ControlFile {
            controller: "hugetlb",
            v2: &format!("hugetlb.{form}.{v2}"),
            v1: &format!("hugetlb.{form}.{v1}"),
        })
    };
    let used = limit("max", "limit_in_bytes")?;
    let reserved = limit("rsvd.max", "rsvd.limit_in_bytes")?;
    Ok(used.into_iter().chain(reserved).min().map(Bytes))
}

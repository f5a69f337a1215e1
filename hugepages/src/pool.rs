//! The kernel's pools of huge pages, by node and size.

use camino::{Utf8Path, Utf8PathBuf};
use numa::{CpuSet, FactError, HostRoot, NodeId, file};
use serde::{Deserialize, Serialize};

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
    /// Free pages of this size, **on all nodes together**, that are promised to mappings which have not touched them
    /// yet (`resv_hugepages`): the kernel counts them for the host only. The same number in every pool of a size.
    #[serde(default)]
    pub reserved_on_host: u64,
}

impl Pool {
    /// The pool's own size, surplus pages left out: what a write to `nr_hugepages` sets.
    pub fn persistent(&self) -> u64 {
        self.pages.saturating_sub(self.surplus)
    }
}

/// The sizes that there are pools of, ascending.
pub fn sizes(pools: &[Pool]) -> Vec<PageSize> {
    let mut sizes: Vec<_> = pools.iter().map(|pool| pool.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// All pools, by node, then size; empty ones too.
pub fn pools(root: &HostRoot) -> Result<Vec<Pool>, FactError> {
    let mut pools = Vec::new();
    for node in nodes(root)? {
        let directory = directory(root, node);
        let first = pools.len();
        for name in file::names(&directory)? {
            if let Some(size) = PageSize::from_sysfs_name(&name) {
                pools.push(pool(root, node, size)?);
            }
        }
        pools[first..].sort_by_key(|pool| pool.size);
    }
    Ok(pools)
}

/// One pool; all zero where there is none.
pub(crate) fn pool(root: &HostRoot, node: NodeId, size: PageSize) -> Result<Pool, FactError> {
    let name = size.sysfs_name();
    let directory = directory(root, node).join(&name);
    let host = root.sys("kernel/mm/hugepages").join(name);
    Ok(Pool {
        node,
        size,
        pages: count(&directory.join("nr_hugepages"))?,
        free: count(&directory.join("free_hugepages"))?,
        surplus: count(&directory.join("surplus_hugepages"))?,
        reserved_on_host: count(&host.join("resv_hugepages"))?,
    })
}

fn count(path: &Utf8Path) -> Result<u64, FactError> {
    Ok(file::value(path, "a number of pages")?.unwrap_or(0))
}

/// Nodes online; node 0 where the kernel has no NUMA.
fn nodes(root: &HostRoot) -> Result<Vec<NodeId>, FactError> {
    let path = root.sys("devices/system/node/online");
    let online: Option<CpuSet> = file::value(&path, "a list such as `0-3,8`")?;
    Ok(online.map_or_else(
        || vec![NodeId(0)],
        |online| online.iter().map(NodeId).collect(),
    ))
}

/// Where a node's pools are, a directory a size. A kernel without NUMA has the host's alone.
pub(crate) fn directory(root: &HostRoot, node: NodeId) -> Utf8PathBuf {
    if root.sys("devices/system/node/online").exists() {
        root.sys(&format!("devices/system/node/node{}/hugepages", node.0))
    } else {
        root.sys("kernel/mm/hugepages")
    }
}

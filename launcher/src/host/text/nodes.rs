//! CPUs, nodes and huge pages, a line each.

use std::fmt::{self, Display};

use hugepages::{Limit, Pool};
use numa::{Kib, Node, NodeId, Topology};

/// `16 CPUs (0-15); cores 8, L3 caches 2, packages 2; offline 16-31`.
pub(super) struct Shape<'a>(pub(super) &'a Topology);

impl Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.0;
        let cpus = &topology.cpus;
        let cores = topology.cores.len();
        write!(f, "{} CPUs ({cpus}); cores {cores}", cpus.len())?;
        for (sets, name) in [
            (&topology.l3, "L3 caches"),
            (&topology.packages, "packages"),
        ] {
            if !sets.is_empty() {
                write!(f, ", {name} {}", sets.len())?;
            }
        }
        if !topology.offline.is_empty() {
            write!(f, "; offline {}", topology.offline)?;
        }
        Ok(())
    }
}

/// `0: CPUs 0-3,8-11; 94.2Gi, 49.6Gi free; distances 0: 10, 1: 21`.
pub(super) struct NodeLine<'a>(pub(super) NodeId, pub(super) &'a Node);

impl Display for NodeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id, node) = self;
        write!(f, "{}: ", id.0)?;
        match node.has_cpus() {
            true => write!(f, "CPUs {}", node.cpus)?,
            false => f.write_str("no CPUs")?,
        }
        if node.has_memory() {
            let (total, free) = (gib(node.memory.total), gib(node.memory.free));
            write!(f, "; {total}, {free} free")?;
        } else {
            f.write_str("; no memory")?;
        }
        for (index, (to, distance)) in node.distances.iter().enumerate() {
            let before = if index == 0 { "; distances" } else { "," };
            write!(f, "{before} {}: {distance}", to.0)?;
        }
        Ok(())
    }
}

/// In GiB, one digit after the point.
fn gib(size: Kib) -> String {
    let tenths = size.0.saturating_mul(10) >> 20;
    format!("{}.{}Gi", tenths / 10, tenths % 10)
}

/// `huge pages of 1Gi: 1 of 4 free`.
pub(super) struct PoolLine<'a>(pub(super) &'a Pool);

impl Display for PoolLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.0;
        let (size, free, pages) = (pool.size, pool.free, pool.pages);
        write!(f, "  huge pages of {size}: {free} of {pages} free")?;
        if pool.surplus > 0 {
            write!(f, ", {} surplus", pool.surplus)?;
        }
        if pool.reserved_on_host > 0 {
            write!(f, "; {} promised on the host", pool.reserved_on_host)?;
        }
        Ok(())
    }
}

/// `1Gi: use 4Gi, of which 4Gi are left (/sys/fs/cgroup/hugetlb.1GB.max)`.
pub(super) struct LimitLine<'a>(pub(super) &'a Limit);

impl Display for LimitLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.0;
        write!(
            f,
            "{}: {} of at most {}, {} left ({})",
            limit.size,
            limit.of,
            limit.limit,
            limit.left(),
            limit.file
        )
    }
}

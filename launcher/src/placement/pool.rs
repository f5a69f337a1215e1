//! KubeVirt's packing of vCPUs onto the pod's CPUs (its `cpuPool`), cell by cell: whole cores, then fragments.
//!
//! The order is KubeVirt's own, so that a VM that moves here keeps its CPUs. Two things differ: siblings are read from
//! the kernel in either form (KubeVirt splits at commas alone and takes `0-1` for two cores), and vCPUs that are short
//! by less than a core are refused, not left unpinned.

use std::collections::{BTreeMap, VecDeque};

use numa::{CpuSet, NodeId, Topology};

/// The pod's CPUs that are still free, by host node.
#[derive(Debug, Clone)]
pub(super) struct CpuPool {
    cells: Vec<Cell>,
    /// vCPUs a core of the guest.
    threads: usize,
}

/// One host node's part.
#[derive(Debug, Clone, Default)]
struct Cell {
    /// None: the kernel names no node for these CPUs.
    node: Option<NodeId>,
    /// Cores that hold at least one of the guest's.
    full: VecDeque<VecDeque<u32>>,
    /// CPUs of cores that do not.
    fragments: VecDeque<u32>,
}

impl CpuPool {
    /// The CPUs `allowed`, by node in the host's order, then by core in the order of its first CPU.
    pub(super) fn new(topology: &Topology, allowed: &CpuSet, threads: u32) -> Self {
        let threads = usize::try_from(threads).unwrap_or(1).max(1);
        let node_of = nodes_by_cpu(topology);
        let mut cells: BTreeMap<Place, Cell> = BTreeMap::new();
        let mut left = allowed.clone();
        for core in &topology.cores {
            let there: VecDeque<u32> = core.iter().filter(|cpu| left.remove(*cpu)).collect();
            let Some(first) = core.first() else { continue };
            put(&mut cells, node_of.get(&first).copied(), there, threads);
        }
        // What the kernel tells no core of.
        for cpu in left.iter() {
            put(
                &mut cells,
                node_of.get(&cpu).copied(),
                [cpu].into(),
                threads,
            );
        }
        Self {
            cells: cells.into_values().collect(),
            threads,
        }
    }

    /// CPUs for `cores` cores of the guest, in the order of its vCPUs. With `crossing` a core's threads may be on
    /// different nodes where nothing else is left.
    ///
    /// # Errors
    /// How many cores find no place.
    pub(super) fn fit_cores(&mut self, cores: usize, crossing: bool) -> Result<Vec<u32>, usize> {
        let wanted = cores.saturating_mul(self.threads);
        let mut taken = Vec::with_capacity(wanted);
        for index in 0..self.cells.len() {
            self.take(&mut taken, wanted, |pool| {
                pool.cells[index].whole(pool.threads)
            });
        }
        for index in 0..self.cells.len() {
            self.take(&mut taken, wanted, |pool| {
                pool.cells[index].pieces(pool.threads)
            });
        }
        if crossing {
            for index in 0..self.cells.len() {
                self.take(&mut taken, wanted, |pool| pool.cells[index].pieces(1));
            }
        }
        match wanted - taken.len() {
            0 => Ok(taken),
            short => Err(short.div_ceil(self.threads)),
        }
    }

    fn take(
        &mut self,
        taken: &mut Vec<u32>,
        wanted: usize,
        mut next: impl FnMut(&mut Self) -> Option<Vec<u32>>,
    ) {
        while taken.len() < wanted
            && let Some(cpus) = next(self)
        {
            taken.extend(cpus);
        }
    }

    /// CPUs for one core of the guest on `node`: a whole core, else fragments.
    pub(super) fn fit_core_on(&mut self, node: Option<NodeId>) -> Option<Vec<u32>> {
        let threads = self.threads;
        let cell = self.cells.iter_mut().find(|cell| cell.node == node)?;
        cell.whole(threads).or_else(|| cell.pieces(threads))
    }

    /// A fragment of `node`, for a core whose threads are on several.
    pub(super) fn fit_fragment_on(&mut self, node: Option<NodeId>) -> Option<u32> {
        let cell = self.cells.iter_mut().find(|cell| cell.node == node)?;
        cell.fragments.pop_front()
    }

    /// One CPU, from the first of `nodes` that has any left: a fragment, else one of a whole core.
    pub(super) fn fit_thread(&mut self, nodes: &[Option<NodeId>]) -> Option<u32> {
        let threads = self.threads;
        nodes.iter().find_map(|node| {
            let cell = self.cells.iter_mut().find(|cell| cell.node == *node)?;
            cell.thread(threads)
        })
    }

    /// Nodes that had any, in the host's order.
    pub(super) fn nodes(&self) -> Vec<Option<NodeId>> {
        self.cells.iter().map(|cell| cell.node).collect()
    }
}

/// Nodes first, CPUs without one last.
type Place = (bool, Option<NodeId>);

fn put(
    cells: &mut BTreeMap<Place, Cell>,
    node: Option<NodeId>,
    core: VecDeque<u32>,
    threads: usize,
) {
    if core.is_empty() {
        return;
    }
    let cell = cells.entry((node.is_none(), node)).or_default();
    cell.node = node;
    if core.len() >= threads {
        cell.full.push_back(core);
    } else {
        cell.fragments.extend(core);
    }
}

/// Every CPU's node.
pub(super) fn nodes_by_cpu(topology: &Topology) -> BTreeMap<u32, NodeId> {
    let nodes = topology.nodes.iter();
    nodes
        .flat_map(|(id, node)| node.cpus.iter().map(|cpu| (cpu, *id)))
        .collect()
}

impl Cell {
    /// As many CPUs of one core as the guest's core has threads.
    fn whole(&mut self, threads: usize) -> Option<Vec<u32>> {
        let core = self.full.front_mut()?;
        let taken = core.drain(..threads).collect();
        self.settle(threads);
        Some(taken)
    }

    /// The same of any cores' fragments.
    fn pieces(&mut self, threads: usize) -> Option<Vec<u32>> {
        (self.fragments.len() >= threads).then(|| self.fragments.drain(..threads).collect())
    }

    fn thread(&mut self, threads: usize) -> Option<u32> {
        if let Some(cpu) = self.fragments.pop_front() {
            return Some(cpu);
        }
        let cpu = self.full.front_mut()?.pop_front();
        self.settle(threads);
        cpu
    }

    /// What is left of the first core is a core still, or fragments.
    fn settle(&mut self, threads: usize) {
        if let Some(rest) = self.full.pop_front_if(|core| core.len() < threads) {
            self.fragments.extend(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::fixture::{topology, two_nodes};

    fn fit(pool: &mut CpuPool, cores: usize) -> Result<Vec<u32>, usize> {
        pool.fit_cores(cores, true)
    }

    fn pool(allowed: &str, threads: u32) -> CpuPool {
        CpuPool::new(&two_nodes(), &allowed.parse().unwrap(), threads)
    }

    // `two_nodes`: node 0 has cores 0,8 1,9 2,10 3,11; node 1 has 4,12 5,13 6,14 7,15.

    #[test]
    fn with_one_thread_neighbours_share_a_core() {
        assert_eq!(fit(&mut pool("0-15", 1), 4), Ok(vec![0, 8, 1, 9]));
    }

    #[test]
    fn threads_of_a_core_stay_together() {
        assert_eq!(fit(&mut pool("1-2,9-10", 2), 2), Ok(vec![1, 9, 2, 10]));
        // Whole cores of any node come before fragments of the first.
        assert_eq!(fit(&mut pool("0-1,4,12", 2), 2), Ok(vec![4, 12, 0, 1]));
    }

    #[test]
    fn fragments_cross_nodes_only_where_they_may() {
        let allowed = "0,4";
        assert_eq!(pool(allowed, 2).fit_cores(1, true), Ok(vec![0, 4]));
        assert_eq!(pool(allowed, 2).fit_cores(1, false), Err(1));
    }

    #[test]
    fn one_cpu_short_is_short() {
        assert_eq!(fit(&mut pool("0-1,8", 2), 2), Err(1));
        assert_eq!(fit(&mut pool("", 2), 2), Err(2));
    }

    #[test]
    fn a_thread_comes_from_a_fragment_first() {
        let mut pool = pool("0-1,8-9,5", 2);
        assert_eq!(fit(&mut pool, 1), Ok(vec![0, 8]));
        let (first, second) = (Some(NodeId(0)), Some(NodeId(1)));
        assert_eq!(pool.fit_thread(&[second, first]), Some(5));
        assert_eq!(pool.fit_thread(&[first]), Some(1));
        assert_eq!(pool.fit_thread(&[first]), Some(9));
        assert_eq!(pool.fit_thread(&[first, second]), None);
    }

    #[test]
    fn a_host_without_nodes_is_one() {
        let mut plain = topology(&["0-1", "2-3"], &[]);
        let allowed = "0-3".parse().unwrap();
        assert_eq!(CpuPool::new(&plain, &allowed, 2).nodes(), [None]);
        // And one that tells nothing has CPUs all the same.
        plain.cores.clear();
        assert_eq!(
            fit(&mut CpuPool::new(&plain, &allowed, 2), 2),
            Ok(vec![0, 1, 2, 3])
        );
    }
}

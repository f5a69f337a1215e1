//! `sys/devices/system/node`: CPUs, distances, memory and pools.

use hugepages::PageSize;

use super::{Host, Node, Tree};

const NODE: &str = "sys/devices/system/node";

impl Host {
    pub(super) fn write_nodes(&self, tree: &mut Tree) {
        let ids: numa::CpuSet = self.nodes.iter().map(|node| node.id).collect();
        tree.line(format!("{NODE}/online"), ids);
        tree.line(format!("{NODE}/possible"), self.possible_nodes);
        assert_eq!(self.nodes.len(), self.distances.len(), "{}", self.name);
        for (node, distances) in self.nodes.iter().zip(&self.distances) {
            let directory = format!("{NODE}/node{}", node.id);
            tree.line(
                format!("{directory}/cpulist"),
                self.cpus_of(node.cores.clone()),
            );
            tree.line(format!("{directory}/distance"), distances);
            tree.file(format!("{directory}/meminfo"), meminfo(node));
            for (size, [pages, free, surplus]) in node.pools() {
                let pool = format!("{directory}/hugepages/{}", size.sysfs_name());
                tree.line(format!("{pool}/nr_hugepages"), pages);
                tree.line(format!("{pool}/free_hugepages"), free);
                tree.line(format!("{pool}/surplus_hugepages"), surplus);
            }
        }
    }

    pub(super) fn write_pool_totals(&self, tree: &mut Tree) {
        for size in self.sizes() {
            let directory = format!("sys/kernel/mm/hugepages/{}", size.sysfs_name());
            let mut sums = [0; 3];
            let pools = self.nodes.iter().flat_map(Node::pools);
            for (_, pool) in pools.filter(|(other, _)| *other == size) {
                for (sum, count) in sums.iter_mut().zip(pool) {
                    *sum += count;
                }
            }
            let reserved = self.pod.reserved_on_host;
            for (name, count) in [
                ("nr_hugepages", sums[0]),
                ("free_hugepages", sums[1]),
                ("surplus_hugepages", sums[2]),
                (
                    "resv_hugepages",
                    if size == PageSize::GIB_1 { reserved } else { 0 },
                ),
                ("nr_overcommit_hugepages", 0),
            ] {
                tree.line(format!("{directory}/{name}"), count);
            }
        }
    }

    pub(super) fn sizes(&self) -> Vec<PageSize> {
        let mut sizes: Vec<_> = self.nodes.iter().flat_map(Node::pools).collect();
        sizes.sort_unstable();
        sizes.dedup_by_key(|(size, _)| *size);
        sizes.into_iter().map(|(size, _)| size).collect()
    }
}

impl Node {
    fn pools(&self) -> Vec<(PageSize, [u64; 3])> {
        let small = (PageSize::MIB_2, self.small);
        let large = self.large.map(|counts| (PageSize::GIB_1, counts));
        [small].into_iter().chain(large).collect()
    }
}

/// Two thirds of what pools leave are free.
fn meminfo(node: &Node) -> String {
    let total = node.gib << 20;
    let pools: u64 = node
        .pools()
        .iter()
        .map(|(size, [pages, ..])| (size.0.0 >> 10) * pages)
        .sum();
    let free = total.saturating_sub(pools) / 3 * 2;
    let id = node.id;
    format!(
        "Node {id} MemTotal:       {total} kB\nNode {id} MemFree:        {free} kB\nNode {id} MemUsed:        {} kB\n",
        total - free
    )
}

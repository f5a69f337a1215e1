//! Who touches huge pages before the guest starts: threads on each node's own CPUs.

use numa::{CpuSet, NodeId};

use crate::host::HostFacts;
use crate::placement::{Fill, MemoryPlacement};

/// One entry for each host node that gives huge pages, in their order. All of the pod's CPUs on the node take part,
/// those of vCPUs too, since no guest runs yet; where it has none there, those of the nearest node.
pub(super) fn fill(rows: &[MemoryPlacement], facts: &HostFacts) -> Vec<Fill> {
    let mut nodes: Vec<Option<u32>> = rows
        .iter()
        .filter(|row| row.page_size.is_some())
        .map(|row| row.host_node)
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
        .into_iter()
        .map(|host_node| Fill {
            host_node,
            cpus: host_node
                .map_or_else(|| facts.cpus.clone(), |node| near(NodeId(node), facts))
                .to_string(),
        })
        .collect()
}

fn near(node: NodeId, facts: &HostFacts) -> CpuSet {
    let by_distance = facts.topology.by_distance(node);
    let there = by_distance
        .iter()
        .filter_map(|node| facts.topology.nodes.get(node));
    there
        .map(|node| node.cpus.intersection(&facts.cpus))
        .find(|cpus| !cpus.is_empty())
        .unwrap_or_else(|| facts.cpus.clone())
}

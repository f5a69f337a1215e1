//! Hosts for tests.

use std::collections::BTreeMap;

use numa::{CpuSet, Kib, Node, NodeId, NodeMemory, Topology};

/// Cores, and nodes with their CPUs; nodes are 20 from each other.
pub(crate) fn topology(cores: &[&str], nodes: &[(u32, &str)]) -> Topology {
    let cores: Vec<CpuSet> = cores.iter().map(|core| core.parse().unwrap()).collect();
    let cpus: CpuSet = cores.iter().flat_map(CpuSet::iter).collect();
    let distances = |from: u32| -> BTreeMap<NodeId, u32> {
        let to = nodes.iter().map(|(id, _)| *id);
        to.map(|to| (NodeId(to), if to == from { 10 } else { 20 }))
            .collect()
    };
    let node = |id: u32, cpus: &str| Node {
        cpus: cpus.parse().unwrap(),
        distances: distances(id),
        memory: NodeMemory {
            total: Kib(64 << 20),
            free: Kib(32 << 20),
        },
    };
    Topology {
        possible: cpus.clone(),
        cpus,
        nodes: nodes
            .iter()
            .map(|(id, cpus)| (NodeId(*id), node(*id, cpus)))
            .collect(),
        possible_nodes: nodes.iter().map(|(id, _)| *id).collect(),
        cores,
        ..Topology::default()
    }
}

/// Two nodes of four cores with two threads each, numbered as Xeons are.
pub(crate) fn two_nodes() -> Topology {
    let cores = ["0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7,15"];
    topology(&cores, &[(0, "0-3,8-11"), (1, "4-7,12-15")])
}

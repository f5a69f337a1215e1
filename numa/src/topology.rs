//! The host's nodes, CPUs, cores and caches, as sysfs tells them.

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::allowed::LIST;
use crate::cpuset::{CpuId, CpuSet, NodeId};
use crate::domain;
use crate::file::{self, FactError, USUAL_LIMIT};
use crate::root::HostRoot;

/// A number of KiB, the unit of the kernel's memory counters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Kib(pub u64);

/// What there is. Every set of CPUs but `possible` and `offline` is of online ones; every list of sets is in the
/// order of their first CPU, and its sets have no CPU in common.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Topology {
    /// CPUs online.
    pub cpus: CpuSet,
    /// CPUs that the kernel is prepared for, there or not.
    pub possible: CpuSet,
    /// CPUs that are possible and not online.
    pub offline: CpuSet,
    /// Nodes online. A kernel without NUMA has none: then all CPUs are on one node, unnamed.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Nodes that the kernel is prepared for; ids may have holes.
    pub possible_nodes: CpuSet,
    /// Cores, each by the CPUs that are its threads.
    pub cores: Vec<CpuSet>,
    /// Clusters: cores that share a part of the chip below the last-level cache, an L2 as a rule. Empty where the
    /// kernel does not tell (before 5.16); the cores once more where the chip has none.
    pub clusters: Vec<CpuSet>,
    /// CPUs that share an L3 cache. Empty where there is none, or a hypervisor hides it.
    pub l3: Vec<CpuSet>,
    /// Dies of multi-die packages; the packages once more where there is one die each.
    pub dies: Vec<CpuSet>,
    /// Sockets.
    pub packages: Vec<CpuSet>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Node {
    /// Its online CPUs; a node of memory alone has none.
    pub cpus: CpuSet,
    /// How far each online node is; 10 is itself (ACPI SLIT).
    pub distances: BTreeMap<NodeId, u32>,
    /// Its memory; a node of CPUs alone has none.
    pub memory: NodeMemory,
}

/// A node's memory. Huge pages in pools count as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeMemory {
    /// `MemTotal`.
    pub total: Kib,
    /// `MemFree`.
    pub free: Kib,
}

impl Node {
    /// False for a node of memory alone (CXL, persistent memory), or with all its CPUs offline.
    pub fn has_cpus(&self) -> bool {
        !self.cpus.is_empty()
    }

    /// False for a node of CPUs alone (no module in its slots).
    pub fn has_memory(&self) -> bool {
        self.memory.total > Kib(0)
    }
}

impl Topology {
    /// Reads `sys/devices/system`.
    pub fn read(root: &HostRoot) -> Result<Self, FactError> {
        let list =
            |below| -> Result<Option<CpuSet>, FactError> { file::value(&root.sys(below), LIST) };
        let cpus = list("devices/system/cpu/online")?.unwrap_or_default();
        let possible = list("devices/system/cpu/possible")?.unwrap_or_else(|| cpus.clone());
        let online = list("devices/system/node/online")?.unwrap_or_default();
        let mut nodes = BTreeMap::new();
        for id in online.iter() {
            nodes.insert(NodeId(id), node(root, id, &online)?);
        }
        let domains = |files| domain::domains(root, &cpus, files);
        Ok(Self {
            offline: possible.difference(&cpus),
            nodes,
            possible_nodes: list("devices/system/node/possible")?.unwrap_or(online),
            cores: domain::cores(root, &cpus)?,
            clusters: domains(domain::CLUSTER)?,
            l3: domain::caches(root, &cpus, 3)?,
            dies: domains(domain::DIE)?,
            packages: domains(domain::PACKAGE)?,
            possible,
            cpus,
        })
    }

    /// The node that `cpu` is on.
    pub fn node_of(&self, cpu: CpuId) -> Option<NodeId> {
        let (id, _) = self
            .nodes
            .iter()
            .find(|(_, node)| node.cpus.contains(cpu.0))?;
        Some(*id)
    }

    /// The nodes that any of `cpus` are on.
    pub fn nodes_of(&self, cpus: &CpuSet) -> CpuSet {
        let touched = |(id, node): (&NodeId, &Node)| {
            (!node.cpus.intersection(cpus).is_empty()).then_some(id.0)
        };
        self.nodes.iter().filter_map(touched).collect()
    }

    /// The online CPUs of `nodes`.
    pub fn cpus_of(&self, nodes: &CpuSet) -> CpuSet {
        let those = self.nodes.iter().filter(|(id, _)| nodes.contains(id.0));
        those.flat_map(|(_, node)| node.cpus.iter()).collect()
    }

    /// The threads of the core that `cpu` is one of, itself included.
    pub fn siblings(&self, cpu: CpuId) -> Option<&CpuSet> {
        holding(&self.cores, cpu)
    }

    /// The cluster that `cpu` is in.
    pub fn cluster_of(&self, cpu: CpuId) -> Option<&CpuSet> {
        holding(&self.clusters, cpu)
    }

    /// The CPUs that share an L3 cache with `cpu`, itself included.
    pub fn l3_of(&self, cpu: CpuId) -> Option<&CpuSet> {
        holding(&self.l3, cpu)
    }

    /// The socket that `cpu` is in.
    pub fn package_of(&self, cpu: CpuId) -> Option<&CpuSet> {
        holding(&self.packages, cpu)
    }

    /// How far `to` is from `from`, as the firmware says.
    pub fn distance(&self, from: NodeId, to: NodeId) -> Option<u32> {
        self.nodes.get(&from)?.distances.get(&to).copied()
    }

    /// Nodes by their distance from `from`, nearest first, itself at the head; equal ones by number.
    pub fn by_distance(&self, from: NodeId) -> Vec<NodeId> {
        let Some(node) = self.nodes.get(&from) else {
            return Vec::new();
        };
        let mut order: Vec<_> = self.nodes.keys().copied().collect();
        order.sort_by_key(|id| {
            let distance = node.distances.get(id).copied().unwrap_or(u32::MAX);
            (*id != from, distance, *id)
        });
        order
    }
}

fn holding(sets: &[CpuSet], cpu: CpuId) -> Option<&CpuSet> {
    sets.iter().find(|set| set.contains(cpu.0))
}

fn node(root: &HostRoot, id: u32, online: &CpuSet) -> Result<Node, FactError> {
    let directory = root.sys(&format!("devices/system/node/node{id}"));
    Ok(Node {
        cpus: file::value(&directory.join("cpulist"), LIST)?.unwrap_or_default(),
        distances: distances(&directory.join("distance"), online)?,
        memory: memory(&directory.join("meminfo"))?,
    })
}

/// One number for each online node, in their order (`node_read_distance`).
fn distances(path: &Utf8Path, online: &CpuSet) -> Result<BTreeMap<NodeId, u32>, FactError> {
    let Some(text) = file::read(path, USUAL_LIMIT)? else {
        return Ok(BTreeMap::new());
    };
    let distances: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    match distances {
        // Which is whose is known only by their order.
        Ok(distances) if distances.len() == online.len() => {
            Ok(online.iter().map(NodeId).zip(distances).collect())
        }
        _ => Err(FactError::malformed(
            path,
            &text,
            "one distance per online node",
        )),
    }
}

/// Lines such as `Node 0 MemTotal:       13723860 kB`.
fn memory(path: &Utf8Path) -> Result<NodeMemory, FactError> {
    let text = file::read(path, USUAL_LIMIT)?.unwrap_or_default();
    let counter = |key: &str| -> Result<Kib, FactError> {
        let Some((line, mut words)) = text.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(2);
            (words.next() == Some(key)).then_some((line, words))
        }) else {
            return Ok(Kib::default());
        };
        match (words.next().map(str::parse), words.next()) {
            (Some(Ok(count)), Some("kB")) => Ok(Kib(count)),
            _ => Err(FactError::malformed(path, line, "a number of kB")),
        }
    };
    Ok(NodeMemory {
        total: counter("MemTotal:")?,
        free: counter("MemFree:")?,
    })
}

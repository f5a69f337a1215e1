//! The host's nodes, CPUs and cores, as sysfs tells them.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::allowed::LIST;
use crate::cpuset::{CpuId, CpuSet, NodeId};
use crate::file::{self, FactError, USUAL_LIMIT};
use crate::root::HostRoot;

/// A number of KiB, the unit of the kernel's memory counters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Kib(pub u64);

/// What there is, online.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Topology {
    /// CPUs online.
    pub cpus: CpuSet,
    /// Nodes online. A kernel without NUMA has none: then all CPUs are on one node, unnamed.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Cores, each by the CPUs that are its threads, in the order of their first CPU.
    pub cores: Vec<CpuSet>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Node {
    /// Its online CPUs; a node of memory alone has none.
    pub cpus: CpuSet,
    /// How far each online node is; 10 is itself (ACPI SLIT).
    pub distances: BTreeMap<NodeId, u32>,
    /// Its memory.
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

impl Topology {
    /// Reads `sys/devices/system`.
    pub fn read(root: &HostRoot) -> Result<Self, FactError> {
        let cpus: CpuSet =
            file::value(&root.sys("devices/system/cpu/online"), LIST)?.unwrap_or_default();
        let online: CpuSet =
            file::value(&root.sys("devices/system/node/online"), LIST)?.unwrap_or_default();
        let mut nodes = BTreeMap::new();
        for id in online.iter() {
            nodes.insert(NodeId(id), node(root, id, &online)?);
        }
        let cores = cores(root, &cpus)?;
        Ok(Self { cpus, nodes, cores })
    }

    /// The node that `cpu` is on.
    pub fn node_of(&self, cpu: CpuId) -> Option<NodeId> {
        let (id, _) = self
            .nodes
            .iter()
            .find(|(_, node)| node.cpus.contains(cpu.0))?;
        Some(*id)
    }

    /// The threads of the core that `cpu` is one of, itself included.
    pub fn siblings(&self, cpu: CpuId) -> Option<&CpuSet> {
        self.cores.iter().find(|core| core.contains(cpu.0))
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
    let text = file::read(path, USUAL_LIMIT)?.unwrap_or_default();
    let distance = |number: &str| {
        number
            .parse()
            .map_err(|_| FactError::malformed(path, &text, "one distance per online node"))
    };
    online
        .iter()
        .zip(text.split_whitespace())
        .map(|(id, number)| Ok((NodeId(id), distance(number)?)))
        .collect()
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

fn cores(root: &HostRoot, cpus: &CpuSet) -> Result<Vec<CpuSet>, FactError> {
    let mut cores: BTreeMap<u32, CpuSet> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for cpu in cpus.iter() {
        if seen.contains(&cpu) {
            continue;
        }
        let topology = root.sys(&format!("devices/system/cpu/cpu{cpu}/topology"));
        // The older name of the same list, still there.
        let mut threads: Option<CpuSet> = file::value(&topology.join("core_cpus_list"), LIST)?;
        if threads.is_none() {
            threads = file::value(&topology.join("thread_siblings_list"), LIST)?;
        }
        let mut core = threads.unwrap_or_default().intersection(cpus);
        core.insert(cpu);
        seen.extend(core.iter());
        cores.insert(cpu, core);
    }
    Ok(cores.into_values().collect())
}

/// The node that a PCI device is on, by its full address `0000:3b:02.1`; none when the device is not there or its
/// firmware does not say (`-1`).
pub fn pci_node(root: &HostRoot, address: &str) -> Result<Option<NodeId>, FactError> {
    let path = root.sys(&format!("bus/pci/devices/{address}/numa_node"));
    let is_address = address
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    if !is_address || address.contains("..") {
        return Err(FactError::malformed(
            &path,
            address,
            "a PCI address such as `0000:3b:02.1`",
        ));
    }
    let node: Option<i64> = file::value(&path, "a node's number or -1")?;
    Ok(node.and_then(|id| u32::try_from(id).ok()).map(NodeId))
}

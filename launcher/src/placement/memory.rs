//! Guest memory on host nodes, where the guest itself sees none; and what the rooms for memory share.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hugepages::{Bytes, Nodes, PageSize, Part, Request, Reservation, Shortfall, reserve};
use numa::{CpuSet, NodeId};

use super::devices::{self, DeviceFacts};
use super::misfit::Misfit;
use super::pins::Pins;
use crate::host::HostFacts;
use crate::placement::{Binding, GuestNode, MemoryPlacement, Policy};
use crate::spec::Spec;
use crate::spec::placing::{MEMORY, MemoryNear};

const PAGES: &str = "spec.domain.memory.hugepages.pageSize";
const GUEST: &str = "spec.domain.memory.guest";

/// Where memory goes, and what the guest sees of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// By guest node, then host node.
    pub rows: Vec<MemoryPlacement>,
    /// How it gets there.
    pub binding: Binding,
    /// What the guest sees; empty: no nodes.
    pub guest: Vec<GuestNode>,
    /// The host node of each guest node.
    pub cells: Vec<Option<NodeId>>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Memory of one guest that sees no nodes. `pins` is none for a VM whose vCPUs run wherever the pod may.
pub(super) fn memory(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
    pins: Option<&Pins>,
) -> Result<Layout, Misfit> {
    let wanted = Wanted::of(spec, facts, devices, pins);
    match spec.memory.hugepages {
        Some(size) => huge(spec, facts, size, &wanted),
        None => ordinary(spec, facts, &wanted),
    }
}

/// Whether all of the memory can be on `node`.
pub(super) fn fits_on(spec: &Spec, facts: &HostFacts, node: NodeId) -> bool {
    let there = match spec.memory.hugepages {
        Some(size) => reserved(spec, facts, size, Nodes::On(node)).is_ok(),
        None => total(facts, node) >= spec.memory.guest,
    };
    facts.mems.contains(node.0) && there
}

/// The node that memory should be on, and why.
struct Wanted {
    /// None on a host without NUMA.
    node: Option<NodeId>,
    /// Devices are there, and memory was to be near them.
    for_devices: bool,
    /// Nodes of the CPUs that use the memory.
    cpus: Vec<NodeId>,
}

impl Wanted {
    fn of(spec: &Spec, facts: &HostFacts, devices: &[DeviceFacts], pins: Option<&Pins>) -> Self {
        let cpus = by_count(facts, pins);
        let device = devices::nodes(devices, facts).first().copied();
        // A node that is not online has neither memory nor neighbours.
        let device = device.filter(|node| facts.topology.nodes.contains_key(node));
        let device = device.filter(|_| spec.placement.memory == MemoryNear::Devices);
        Self {
            node: device.or(cpus.first().copied()),
            for_devices: device.is_some(),
            cpus,
        }
    }

    /// Whether ordinary pages fall on `node`: nobody takes them ahead, so that each is where the vCPU runs that touches it
    /// first, where `mbind` does not decide.
    fn is_touched_on(&self, facts: &HostFacts, node: NodeId) -> bool {
        facts.mbind || facts.mems.len() == 1 || self.cpus.iter().all(|cpus| *cpus == node)
    }

    /// What is said where CPUs and memory are apart.
    fn remote(&self, rows: &[MemoryPlacement], pinned: bool) -> Option<String> {
        let on: Vec<NodeId> = rows
            .iter()
            .filter_map(|row| row.host_node.map(NodeId))
            .collect();
        let away: Vec<NodeId> = self
            .cpus
            .iter()
            .filter(|node| !on.contains(node))
            .copied()
            .collect();
        // Threads that float may well run near it.
        let matters = if pinned {
            !away.is_empty()
        } else {
            away.len() == self.cpus.len()
        };
        if on.is_empty() || away.is_empty() || !matters {
            return None;
        }
        let whose = if pinned { "vCPUs" } else { "the pod's CPUs" };
        let because = if self.for_devices && self.node.is_some_and(|node| on.contains(&node)) {
            format!(
                " (memory is near the devices; the annotation `{MEMORY}: cpus` keeps it with the CPUs)"
            )
        } else {
            String::new()
        };
        Some(format!(
            "memory is on {}, and {whose} are on {}: each access from there is remote{because}",
            listed(&on),
            listed(&away)
        ))
    }
}

/// Nodes of the VM's CPUs, those with the most of them first.
fn by_count(facts: &HostFacts, pins: Option<&Pins>) -> Vec<NodeId> {
    let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
    match pins {
        Some(pins) => {
            for node in pins.nodes.iter().flatten() {
                *counts.entry(*node).or_default() += 1;
            }
        }
        None => {
            for (node, there) in &facts.topology.nodes {
                let count = there.cpus.intersection(&facts.cpus).len();
                if count > 0 {
                    counts.insert(*node, count);
                }
            }
        }
    }
    let mut nodes: Vec<(NodeId, usize)> = counts.into_iter().collect();
    nodes.sort_by_key(|(node, count)| (Reverse(*count), *node));
    nodes.into_iter().map(|(node, _)| node).collect()
}

fn huge(spec: &Spec, facts: &HostFacts, size: PageSize, wanted: &Wanted) -> Result<Layout, Misfit> {
    let all: Vec<NodeId> = facts.mems.iter().map(NodeId).collect();
    let node = match wanted.node {
        Some(node) if spec.placement.policy != Policy::None => node,
        // KubeVirt leaves it to the kernel which node gives the pages.
        _ => {
            reserved(spec, facts, size, Nodes::AnyOf(all))?;
            return Ok(unbound(spec));
        }
    };
    if spec.placement.policy == Policy::Strict {
        can_hold(facts, node, PAGES)?;
        reserved(spec, facts, size, Nodes::On(node))?;
        let rows = vec![row(0, Some(node), spec.memory.guest, Some(size))];
        return Ok(bound(facts, rows, Vec::new()));
    }
    let mut notes = Vec::new();
    let near = facts.topology.by_distance(node);
    let near = near.into_iter().filter(|node| facts.mems.contains(node.0));
    let reachable: Vec<NodeId> = near.clone().filter(|node| can_bind(facts, *node)).collect();
    if !reachable.contains(&node) {
        notes.push(out_of_reach(facts, node));
    }
    let given = match reserved(spec, facts, size, Nodes::AnyOf(reachable.clone())) {
        Err(_) if !facts.mbind => {
            reserved(spec, facts, size, Nodes::AnyOf(all))?;
            notes.push(
                "`mbind` is forbidden here, and nodes with CPUs of the pod have too few pages: the kernel takes them from where it finds them"
                    .to_owned(),
            );
            return Ok(Layout {
                notes,
                ..unbound(spec)
            });
        }
        given => given?,
    };
    let by_node = given.parts.into_iter().next().unwrap_or_default();
    let rows: Vec<MemoryPlacement> = reachable
        .iter()
        .filter_map(|node| Some((node, by_node.get(node)?)))
        .map(|(node, pages)| row(0, Some(*node), Bytes(pages * size.0.0), Some(size)))
        .collect();
    if reachable.contains(&node) && (by_node.len() > 1 || !by_node.contains_key(&node)) {
        notes.push(spilled(facts, node, size, spec, &by_node));
    }
    notes.extend(wanted.remote(&rows, spec.cpu.dedicated));
    Ok(bound(facts, rows, notes))
}

/// Ordinary pages are bound only where a node was asked for: the kernel takes them from where they are first used.
fn ordinary(spec: &Spec, facts: &HostFacts, wanted: &Wanted) -> Result<Layout, Misfit> {
    let strict = spec.placement.policy == Policy::Strict;
    let asked = strict || (wanted.for_devices && spec.placement.policy == Policy::Prefer);
    let Some(node) = wanted.node.filter(|_| asked) else {
        return Ok(unbound(spec));
    };
    let total = total(facts, node);
    if strict {
        can_hold(facts, node, GUEST)?;
        if total < spec.memory.guest {
            return Err(Misfit::StrictMemory { node, total });
        }
    }
    let kept = if !facts.mems.contains(node.0) || !can_bind(facts, node) {
        Some(out_of_reach(facts, node))
    } else if !wanted.is_touched_on(facts, node) {
        Some(format!(
            "`mbind` is forbidden here, and not every vCPU is on node {}: memory is where they touch it first",
            node.0
        ))
    } else if total < spec.memory.guest {
        Some(format!(
            "node {} has `{total}` in all: memory is where the kernel finds it",
            node.0
        ))
    } else {
        None
    };
    if let Some(note) = kept {
        return Ok(Layout {
            notes: vec![note],
            ..unbound(spec)
        });
    }
    let rows = vec![row(0, Some(node), spec.memory.guest, None)];
    let notes = wanted
        .remote(&rows, spec.cpu.dedicated)
        .into_iter()
        .collect();
    Ok(bound(facts, rows, notes))
}

fn unbound(spec: &Spec) -> Layout {
    Layout {
        rows: vec![row(0, None, spec.memory.guest, spec.memory.hugepages)],
        ..Layout::default()
    }
}

fn bound(facts: &HostFacts, rows: Vec<MemoryPlacement>, notes: Vec<String>) -> Layout {
    Layout {
        rows,
        binding: binding(facts),
        notes,
        ..Layout::default()
    }
}

pub(super) fn binding(facts: &HostFacts) -> Binding {
    if facts.mbind {
        Binding::Bind
    } else {
        Binding::FirstTouch
    }
}

pub(super) fn row(
    guest_node: u32,
    host_node: Option<NodeId>,
    bytes: Bytes,
    page_size: Option<PageSize>,
) -> MemoryPlacement {
    MemoryPlacement {
        guest_node,
        host_node: host_node.map(|node| node.0),
        bytes: bytes.0,
        page_size: page_size.map(|size| size.to_string()),
    }
}

/// All of the guest's pages on `nodes`.
fn reserved(
    spec: &Spec,
    facts: &HostFacts,
    size: PageSize,
    nodes: Nodes,
) -> Result<Reservation, Shortfall> {
    let part = Part {
        pages: spec.memory.guest.0 / size.0.0.max(1),
        nodes,
    };
    let request = Request {
        size,
        parts: vec![part],
    };
    reserve(&request, &facts.pools, &facts.hugetlb)
}

/// Whether the pod may have memory of `node`, and can bring it there.
fn can_hold(facts: &HostFacts, node: NodeId, asked: &'static str) -> Result<(), Misfit> {
    if !facts.mems.contains(node.0) {
        return Err(Misfit::MemsWithout {
            node,
            mems: facts.mems.clone(),
            asked,
        });
    }
    if !can_bind(facts, node) {
        return Err(Misfit::NoBinding { node });
    }
    Ok(())
}

/// By `mbind`; without it where a thread of the pod's can touch memory first, or where there is no other node.
fn can_bind(facts: &HostFacts, node: NodeId) -> bool {
    let cpus = facts.topology.nodes.get(&node).map(|there| &there.cpus);
    let touches = cpus.is_some_and(|cpus| !cpus.intersection(&facts.cpus).is_empty());
    let only = facts.mems.contains(node.0) && facts.mems.len() == 1;
    facts.mbind || touches || only
}

fn out_of_reach(facts: &HostFacts, node: NodeId) -> String {
    if facts.mems.contains(node.0) {
        format!(
            "`mbind` is forbidden here, and the pod has no CPU on node {}: memory is elsewhere",
            node.0
        )
    } else {
        format!(
            "the pod may take no memory from node {} (`cpuset.mems` is `{}`): memory is elsewhere",
            node.0, facts.mems
        )
    }
}

fn spilled(
    facts: &HostFacts,
    node: NodeId,
    size: PageSize,
    spec: &Spec,
    given: &BTreeMap<NodeId, u64>,
) -> String {
    let pools = facts.pools.iter();
    let free = pools
        .filter(|pool| pool.node == node && pool.size == size)
        .map(|pool| pool.free)
        .sum::<u64>();
    let places: Vec<String> = given
        .iter()
        .map(|(node, pages)| format!("{pages} from node {}", node.0))
        .collect();
    format!(
        "node {} has {free} of the {} free pages of `{size}` that are wanted: {}",
        node.0,
        spec.memory.guest.0 / size.0.0.max(1),
        places.join(", ")
    )
}

fn total(facts: &HostFacts, node: NodeId) -> Bytes {
    let there = facts.topology.nodes.get(&node);
    there.map_or(Bytes(0), |there| Bytes::from_kib(there.memory.total))
}

/// `node 1`, `nodes 0,2`.
pub(super) fn listed(nodes: &[NodeId]) -> String {
    let set: CpuSet = nodes.iter().map(|node| node.0).collect();
    let word = if set.len() == 1 { "node" } else { "nodes" };
    format!("{word} {set}")
}

//! The guest's NUMA nodes: those of the host that its vCPUs are on, each with its part of the memory (facts 6.1).

use hugepages::{Bytes, Nodes, PageSize, Part, Request, reserve};
use numa::{CpuSet, NodeId};

use super::memory::{Layout, binding, row};
use super::misfit::Misfit;
use super::pins::Pins;
use crate::host::HostFacts;
use crate::placement::{Binding, GuestNode};
use crate::spec::Spec;

/// ACPI's distance to oneself, and Linux' to others where firmware tells none.
const LOCAL: u32 = 10;
const REMOTE: u32 = 20;

/// Guest nodes in the host's order, and memory in whole pages: the same number each, those that are left one each to
/// the first.
pub(super) fn cells(
    spec: &Spec,
    facts: &HostFacts,
    pins: &Pins,
    size: PageSize,
) -> Result<Layout, Vec<Misfit>> {
    let mut hosts: Vec<Option<NodeId>> = pins.nodes.clone();
    hosts.sort_unstable_by_key(|node| (node.is_none(), *node));
    hosts.dedup();
    let pages = spec.memory.guest.0 / size.0.0.max(1);
    let parts = split(pages, hosts.len()).ok_or_else(|| {
        vec![Misfit::PagePerCell {
            guest: spec.memory.guest,
            size,
            pages,
            cells: hosts.len(),
        }]
    })?;
    let mut misfits: Vec<Misfit> = hosts
        .iter()
        .flatten()
        .filter_map(|node| forbidden(facts, *node))
        .collect();
    let request = Request {
        size,
        parts: hosts
            .iter()
            .zip(&parts)
            .map(|(node, pages)| Part {
                pages: *pages,
                nodes: node.map_or_else(|| anywhere(facts), Nodes::On),
            })
            .collect(),
    };
    misfits.extend(
        reserve(&request, &facts.pools, &facts.hugetlb)
            .err()
            .map(Misfit::from),
    );
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let rows = (0..).zip(hosts.iter().zip(&parts));
    let untold = hosts.iter().all(Option::is_none);
    Ok(Layout {
        rows: rows
            .map(|(id, (node, pages))| row(id, *node, Bytes(pages * size.0.0), Some(size)))
            .collect(),
        binding: if untold {
            Binding::None
        } else {
            binding(facts)
        },
        guest: guest_nodes(facts, pins, &hosts),
        notes: untold
            .then(|| "this host tells of no NUMA nodes: the guest sees one".to_owned())
            .into_iter()
            .collect(),
        cells: hosts,
    })
}

/// Pages by cell; none where one would have none.
fn split(pages: u64, cells: usize) -> Option<Vec<u64>> {
    let count = u64::try_from(cells)
        .ok()
        .filter(|count| (1..=pages).contains(count))?;
    let (each, more) = (pages / count, pages % count);
    Some(
        (0..count)
            .map(|index| each + u64::from(index < more))
            .collect(),
    )
}

fn anywhere(facts: &HostFacts) -> Nodes {
    Nodes::AnyOf(facts.mems.iter().map(NodeId).collect())
}

fn forbidden(facts: &HostFacts, node: NodeId) -> Option<Misfit> {
    (!facts.mems.contains(node.0)).then(|| Misfit::MemsWithout {
        node,
        mems: facts.mems.clone(),
        asked: "spec.domain.cpu.numa.guestMappingPassthrough",
    })
}

fn guest_nodes(facts: &HostFacts, pins: &Pins, hosts: &[Option<NodeId>]) -> Vec<GuestNode> {
    let distance = |from: Option<NodeId>, to: Option<NodeId>| {
        let told = from
            .zip(to)
            .and_then(|(from, to)| facts.topology.distance(from, to));
        told.unwrap_or(if from == to { LOCAL } else { REMOTE })
    };
    let vcpus = |host: Option<NodeId>| -> CpuSet {
        let vcpus = (0..).zip(&pins.nodes);
        vcpus
            .filter(|(_, node)| **node == host)
            .map(|(vcpu, _)| vcpu)
            .collect()
    };
    (0..)
        .zip(hosts)
        .map(|(id, host)| GuestNode {
            id,
            vcpus: vcpus(*host).to_string(),
            distances: hosts.iter().map(|to| distance(*host, *to)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_shared_out_whole() {
        assert_eq!(split(7, 3), Some(vec![3, 2, 2]));
        assert_eq!(split(2, 2), Some(vec![1, 1]));
        assert_eq!(split(1, 2), None);
        assert_eq!(split(0, 0), None);
    }
}

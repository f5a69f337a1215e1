//! Where the guest's memory is, against where it should be.

use std::collections::BTreeMap;

use hugepages::{Backend, Bytes, Ordinary, PageSize};
use numa::{CpuSet, NodeId};
use serde::Serialize;

use crate::placement::{Binding, MemoryPlacement, Placement};

/// One backend of guest memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryCheck {
    /// The guest's node that it backs; none: all of its memory.
    pub guest_node: Option<u32>,
    /// Bytes a huge page; none: ordinary pages, which come when the guest touches them.
    pub page_size: Option<PageSize>,
    /// Host nodes that its pages should be on; none: any.
    pub wanted: Option<CpuSet>,
    /// How much it should have.
    pub bytes: Bytes,
    /// What it has, by host node.
    pub actual: BTreeMap<NodeId, Bytes>,
    /// Of ordinary pages: the nodes that the kernel holds them to, those that are yet to come too; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<CpuSet>,
    /// Whether huge pages are all there, and everything that is there where it should be.
    pub ok: bool,
}

/// Whether memory of ordinary pages has nodes of its own.
pub fn has_ordinary(placement: &Placement) -> bool {
    let mut parts = placement.memory.iter();
    parts.any(|part| part.page_size.is_none() && part.host_node.is_some())
}

/// Ordinary memory against what QEMU has mapped; none where it may be on any node.
///
/// QEMU binds exactly the backend (`host_memory_backend_memory_complete`), so what is bound so is the backend. Where
/// threads only touch it first it is known by its length, and before the guest runs there is nothing to see of it.
pub fn check_ordinary(placement: &Placement, found: &[Ordinary]) -> Option<MemoryCheck> {
    let parts = placement.memory.iter();
    let parts = parts.filter(|part| part.page_size.is_none());
    let nodes: CpuSet = parts.clone().filter_map(|part| part.host_node).collect();
    if nodes.is_empty() {
        return None;
    }
    let bytes = Bytes(parts.map(|part| part.bytes).sum());
    let binds = placement.binding == Binding::Bind;
    let is_bound = |mapping: &&Ordinary| mapping.bound_to.as_ref() == Some(&nodes);
    let is_it = |mapping: &&Ordinary| match binds {
        true => is_bound(mapping),
        false => mapping.length == bytes,
    };
    let mut backend: Vec<&Ordinary> = found.iter().filter(is_it).collect();
    let length = |backend: &[&Ordinary]| -> u64 {
        let lengths = backend.iter().map(|mapping| mapping.length.0);
        lengths.fold(0, u64::saturating_add)
    };
    let whole = length(&backend) >= bytes.0;
    if !whole {
        // Whatever the kernel made of it, it has this length.
        backend = found.iter().filter(|it| it.length == bytes).collect();
    }
    let mut actual: BTreeMap<NodeId, Bytes> = BTreeMap::new();
    for (node, there) in backend.iter().flat_map(|mapping| &mapping.present) {
        let sum = actual.entry(*node).or_default();
        sum.0 = sum.0.saturating_add(there.0);
    }
    Some(MemoryCheck {
        guest_node: None,
        page_size: None,
        bytes,
        ok: whole && actual.keys().all(|node| nodes.contains(node.0)),
        bound_to: backend.first().and_then(|mapping| mapping.bound_to.clone()),
        wanted: Some(nodes),
        actual,
    })
}

/// Every backend of huge pages against what QEMU has mapped.
///
/// QEMU's memfds share a name, so each planned backend takes, of those with its size, the one with most pages where
/// they should be.
pub fn check(placement: &Placement, found: &[Backend]) -> Vec<MemoryCheck> {
    let mut left: Vec<&Backend> = found.iter().collect();
    let mut checks = Vec::new();
    for (guest_node, parts) in crate::machine::memory::by_backend(placement) {
        let Some(page_size) = parts.iter().find_map(|part| page_size(part)) else {
            continue;
        };
        let nodes: CpuSet = parts.iter().filter_map(|part| part.host_node).collect();
        let bytes = Bytes(parts.iter().map(|part| part.bytes).sum());
        let fits = |backend: &Backend| {
            // A mapping without pages does not tell their size.
            backend.size.is_none_or(|size| size == page_size)
                && backend.length.is_none_or(|length| length == bytes)
        };
        let on = |backend: &Backend| -> u64 {
            let here = |node: &NodeId| nodes.is_empty() || nodes.contains(node.0);
            let pages = backend.pages.iter().filter(|(node, _)| here(node));
            pages.map(|(_, pages)| pages).sum()
        };
        let best = (0..left.len())
            .filter(|index| fits(left[*index]))
            .max_by_key(|index| (on(left[*index]), std::cmp::Reverse(*index)));
        let backend = best.map(|index| left.remove(index));
        let amount = |pages: u64| Bytes(pages.saturating_mul(page_size.0.0));
        let there = backend.map_or(0, on);
        let all: u64 = backend.map_or(0, |backend| backend.pages.values().sum());
        checks.push(MemoryCheck {
            guest_node: (!placement.guest_nodes.is_empty()).then_some(guest_node),
            page_size: Some(page_size),
            bound_to: None,
            wanted: (!nodes.is_empty()).then_some(nodes),
            bytes,
            actual: backend
                .iter()
                .flat_map(|backend| &backend.pages)
                .map(|(node, pages)| (*node, amount(*pages)))
                .collect(),
            ok: there == all && amount(all) == bytes,
        });
    }
    checks
}

fn page_size(part: &MemoryPlacement) -> Option<PageSize> {
    part.page_size.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn backend(length: u64, pages: &[(u32, u64)]) -> Backend {
        Backend {
            file: "/memfd:memory-backend-memfd (deleted)".to_owned(),
            inode: None,
            size: Some(PageSize::GIB_1),
            length: Some(Bytes(length << 30)),
            bound_to: None,
            pages: pages
                .iter()
                .map(|(node, pages)| (NodeId(*node), *pages))
                .collect(),
        }
    }

    fn oks(placement: &Placement, found: &[Backend]) -> Vec<bool> {
        let checks = check(placement, found);
        checks.iter().map(|check| check.ok).collect()
    }

    #[test]
    fn each_cell_finds_its_own_pages_in_whatever_order() {
        let found = [backend(1, &[(1, 1)]), backend(1, &[(0, 1)])];
        assert_eq!(oks(&fixtures::two_cells(), &found), [true, true]);
    }

    #[test]
    fn pages_elsewhere_and_pages_missing_are_seen() {
        let placement = fixtures::two_cells();
        let both_on_one = [backend(1, &[(0, 1)]), backend(1, &[(0, 1)])];
        assert_eq!(oks(&placement, &both_on_one), [true, false]);
        assert_eq!(oks(&placement, &[backend(1, &[(0, 1)])]), [true, false]);
        assert_eq!(
            oks(&placement, &[backend(1, &[]), backend(1, &[(1, 1)])]),
            [false, true]
        );
    }

    #[test]
    fn a_backend_of_two_nodes_may_be_split_in_any_way() {
        let mut placement = fixtures::two_cells();
        placement.guest_nodes.clear();
        for pages in [&[(0, 2)][..], &[(0, 1), (1, 1)]] {
            assert_eq!(oks(&placement, &[backend(2, pages)]), [true]);
        }
        assert_eq!(oks(&placement, &[backend(2, &[(0, 1), (2, 1)])]), [false]);
    }

    /// A guest of 1 GiB in ordinary pages on node 1.
    fn ordinary(binding: Binding) -> Placement {
        let mut placement = fixtures::two_cells();
        placement.guest_nodes.clear();
        placement.memory.truncate(1);
        placement.memory[0].host_node = Some(1);
        placement.memory[0].page_size = None;
        placement.binding = binding;
        placement
    }

    fn mapping(mib: u64, bound_to: Option<&str>, present: &[(u32, u64)]) -> Ordinary {
        Ordinary {
            length: Bytes(mib << 20),
            bound_to: bound_to.map(|nodes| nodes.parse().unwrap()),
            present: present
                .iter()
                .map(|(node, bytes)| (NodeId(*node), Bytes(*bytes)))
                .collect(),
        }
    }

    fn is_ok(binding: Binding, found: &[Ordinary]) -> bool {
        let all = [mapping(8, None, &[(0, 4096)])];
        let all = [&all[..], found].concat();
        check_ordinary(&ordinary(binding), &all).unwrap().ok
    }

    #[test]
    fn ordinary_memory_is_bound_whole_and_nothing_of_it_is_elsewhere() {
        let bind = |found: &[Ordinary]| is_ok(Binding::Bind, found);
        assert!(bind(&[mapping(1024, Some("1"), &[])]));
        assert!(bind(&[mapping(1024, Some("1"), &[(1, 8192)])]));
        // The kernel may split a mapping, and joins neighbours that are bound alike.
        assert!(bind(&[
            mapping(1000, Some("1"), &[]),
            mapping(24, Some("1"), &[(1, 4096)])
        ]));
        assert!(!bind(&[mapping(1000, Some("1"), &[])]));
        assert!(!bind(&[mapping(1024, Some("0"), &[(0, 8192)])]));
        assert!(!bind(&[mapping(1024, Some("0-1"), &[])]));
        assert!(!bind(&[mapping(1024, None, &[])]));
        assert!(!bind(&[mapping(1024, Some("1"), &[(0, 4096), (1, 8192)])]));
        assert!(!bind(&[]));
    }

    #[test]
    fn memory_that_is_touched_first_is_held_to_what_is_there() {
        let touch = |found: &[Ordinary]| is_ok(Binding::FirstTouch, found);
        assert!(touch(&[mapping(1024, None, &[])]));
        assert!(touch(&[mapping(1024, None, &[(1, 1 << 30)])]));
        assert!(!touch(&[mapping(1024, None, &[(0, 4096), (1, 8192)])]));
    }

    #[test]
    fn what_may_be_anywhere_and_huge_pages_are_not_ordinary_memory() {
        let mut anywhere = ordinary(Binding::None);
        anywhere.memory[0].host_node = None;
        assert!(!has_ordinary(&anywhere) && check_ordinary(&anywhere, &[]).is_none());
        let huge = fixtures::two_cells();
        assert!(!has_ordinary(&huge) && check_ordinary(&huge, &[]).is_none());
        assert!(has_ordinary(&ordinary(Binding::Bind)));
    }

    #[test]
    fn without_a_node_any_will_do_and_ordinary_pages_are_not_looked_at() {
        let mut placement = fixtures::two_cells();
        placement.guest_nodes.clear();
        placement.memory.truncate(1);
        placement.memory[0].host_node = None;
        assert_eq!(oks(&placement, &[backend(1, &[(5, 1)])]), [true]);
        placement.memory[0].page_size = None;
        assert!(check(&placement, &[]).is_empty());
    }
}

//! Where the guest's huge pages are, against where they should be.

use std::collections::BTreeMap;

use hugepages::{Backend, Bytes, PageSize};
use numa::{CpuSet, NodeId};
use serde::Serialize;

use crate::placement::{MemoryPlacement, Placement};

/// One backend of huge pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryCheck {
    /// The guest's node that it backs; none: all of its memory.
    pub guest_node: Option<u32>,
    /// Bytes a page.
    pub page_size: PageSize,
    /// Host nodes that its pages should be on; none: any.
    pub wanted: Option<CpuSet>,
    /// How much it should have.
    pub bytes: Bytes,
    /// What it has, by host node.
    pub actual: BTreeMap<NodeId, Bytes>,
    /// Whether all pages are there and where they should be.
    pub ok: bool,
}

/// Every backend of huge pages against what QEMU has mapped. Ordinary pages come and go, and are not looked at.
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
            page_size,
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

//! [`reserve`]: which pool gives how many pages, decided from counts alone.

use std::collections::BTreeMap;

use numa::NodeId;

use crate::limit::{Counted, Limit};
use crate::pool::Pool;
use crate::request::{Nodes, Part, Request, Reservation};
use crate::shortfall::{Bite, Shortfall};

/// Decides which pools give the pages, or says everything that stands in the way.
///
/// Parts on one node come first, then those with a choice, those of the fewest nodes first. Pages that the kernel
/// could add beyond a pool's size (`nr_overcommit_hugepages`) are not counted on.
pub fn reserve(
    request: &Request,
    pools: &[Pool],
    limits: &[Limit],
) -> Result<Reservation, Shortfall> {
    let pools: Vec<Pool> = pools
        .iter()
        .filter(|pool| pool.size == request.size)
        .copied()
        .collect();
    let mut bites = Vec::new();
    let parts = share(request, &pools, &mut bites);
    bites.extend(promised(request, &pools));
    bites.extend(limited(request, limits));
    if bites.is_empty() {
        return Ok(Reservation {
            size: request.size,
            parts,
        });
    }
    Err(Shortfall {
        size: request.size,
        wanted: request.pages(),
        pools,
        bites,
    })
}

/// Pages of each part by node; what is missing goes to `bites`.
fn share(request: &Request, pools: &[Pool], bites: &mut Vec<Bite>) -> Vec<BTreeMap<NodeId, u64>> {
    let mut free: BTreeMap<NodeId, u64> = pools.iter().map(|pool| (pool.node, pool.free)).collect();
    let mut parts = vec![BTreeMap::new(); request.parts.len()];
    for (node, wanted) in fixed(request) {
        let there = free.entry(node).or_default();
        if *there < wanted {
            bites.push(Bite::Nodes {
                nodes: vec![node],
                wanted,
                free: *there,
            });
        }
        *there = there.saturating_sub(wanted);
    }
    let mut choices: Vec<(usize, &Part, &[NodeId])> = Vec::new();
    for (index, part) in request.parts.iter().enumerate() {
        match &part.nodes {
            Nodes::On(node) => {
                parts[index].insert(*node, part.pages);
            }
            Nodes::AnyOf(nodes) => choices.push((index, part, nodes)),
        }
    }
    choices.sort_by_key(|(_, _, nodes)| nodes.len());
    for (index, part, nodes) in choices {
        match choose(part.pages, nodes, &free) {
            Ok(chosen) => {
                for (node, pages) in &chosen {
                    if let Some(left) = free.get_mut(node) {
                        *left -= pages;
                    }
                }
                parts[index] = chosen;
            }
            Err(there) => bites.push(Bite::Nodes {
                nodes: nodes.to_vec(),
                wanted: part.pages,
                free: there,
            }),
        }
    }
    parts
}

/// Pages that are wanted on one node and no other.
fn fixed(request: &Request) -> BTreeMap<NodeId, u64> {
    let mut fixed = BTreeMap::new();
    for part in &request.parts {
        if let Nodes::On(node) = part.nodes {
            let wanted: &mut u64 = fixed.entry(node).or_default();
            *wanted = wanted.saturating_add(part.pages);
        }
    }
    fixed
}

/// The first node with enough, else the first nodes that have enough together, else how many all of them have.
fn choose(
    pages: u64,
    nodes: &[NodeId],
    free: &BTreeMap<NodeId, u64>,
) -> Result<BTreeMap<NodeId, u64>, u64> {
    let free_on = |node: &NodeId| free.get(node).copied().unwrap_or(0);
    if let Some(node) = nodes.iter().find(|node| free_on(node) >= pages) {
        return Ok(BTreeMap::from([(*node, pages)]));
    }
    let mut chosen = BTreeMap::new();
    let mut missing = pages;
    for node in nodes {
        let given = free_on(node).min(missing);
        // A node that is listed twice gives once.
        if given > 0 && !chosen.contains_key(node) {
            chosen.insert(*node, given);
            missing -= given;
        }
    }
    if missing == 0 {
        Ok(chosen)
    } else {
        Err(pages - missing)
    }
}

/// A mapping is refused when it and all those before it could not be filled (`hugetlb_acct_memory`).
fn promised(request: &Request, pools: &[Pool]) -> Option<Bite> {
    let reserved = pools.iter().map(|pool| pool.reserved_on_host).max()?;
    let free = pools
        .iter()
        .map(|pool| pool.free)
        .fold(0, u64::saturating_add);
    let wanted = request.pages();
    (reserved > 0 && wanted > 0 && wanted > free.saturating_sub(reserved))
        .then_some(Bite::Promised { free, reserved })
}

/// For use and for reservations the limit that bites first, where it does.
fn limited(request: &Request, limits: &[Limit]) -> Vec<Bite> {
    let wanted = request.pages();
    [Counted::Usage, Counted::Reservations]
        .into_iter()
        .filter_map(|of| {
            let those = limits
                .iter()
                .filter(|limit| limit.size == request.size && limit.of == of);
            let tightest = those.min_by_key(|limit| limit.left())?;
            (tightest.pages_left() < wanted).then(|| Bite::Limit(tightest.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests;

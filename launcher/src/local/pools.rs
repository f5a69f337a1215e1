//! `--grow-hugepages`: pools grow for as long as a local run lives, by what the guest lacks.
//!
//! Only this process may (the pod has no privilege), and what it did stands in a journal: a run that was killed is
//! cleaned up after by the next one.

use camino::Utf8Path;
use hugepages::{GrowError, Grown, Growth, Pool};
use numa::{FactError, HostRoot, NodeId};

use crate::apply::fill;
use crate::host::{FactsError, HostFacts};
use crate::passthrough;
use crate::placement::devices::near;
use crate::placement::place::place;
use crate::spec::Spec;

/// Where growth is journaled; not among the runs' directories, whose leftovers are removed whole.
const JOURNALS: &str = "/run/virt-launcher-hugepages";

/// Pools that could not be grown.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// What there is could not be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The same.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// The kernel, or the journal.
    #[error("the pools of huge pages cannot be grown")]
    Grow(#[from] GrowError),
}

/// Shrinks back what runs that were killed grew, whoever runs now; then grows the pools for this one, if asked.
pub fn begin(spec: &Spec, wanted: bool) -> Result<Option<Grown>, PoolsError> {
    match hugepages::recover(&HostRoot::default(), Utf8Path::new(JOURNALS)) {
        Ok(shrunk) => shrunk.iter().for_each(gone_back),
        Err(error) => {
            tracing::warn!(event = "pool-not-shrunk", error = %crate::causes::chain(&error), "what a killed run grew is left behind");
        }
    }
    if wanted { grow(spec) } else { Ok(None) }
}

fn gone_back(Growth { node, size, pages }: &Growth) {
    tracing::info!(
        event = "leftover-removed",
        node = node.0,
        pages,
        "memory: {pages} pages of {size} on node {}, which a killed run had added, went back",
        node.0
    );
}

/// Grows the pools so that the guest fits where it would be placed if there were pages everywhere; none where it fits
/// already, or would not fit for another reason, which the pod tells.
fn grow(spec: &Spec) -> Result<Option<Grown>, PoolsError> {
    let root = HostRoot::default();
    let mut facts = HostFacts::read(&root, Vec::new())?;
    facts.read_pci(
        &root,
        spec.host_devices.iter().filter_map(|device| device.told),
    )?;
    let wanted = lacking(spec, &facts);
    if wanted.is_empty() {
        return Ok(None);
    }
    let grown = hugepages::grow(&root, Utf8Path::new(JOURNALS), &wanted)?;
    for Growth { node, size, pages } in &wanted {
        tracing::info!(
            event = "pool-grown",
            node = node.0,
            pages,
            "memory: the pool of {size} on node {} grew by {pages} pages",
            node.0
        );
    }
    Ok(Some(grown))
}

/// What the pools lack for this guest.
fn lacking(spec: &Spec, facts: &HostFacts) -> Vec<Growth> {
    let Some(size) = spec.memory.hugepages else {
        return Vec::new();
    };
    let pages = spec.memory.guest.0.div_ceil(size.0.0);
    let mut plenty = facts.clone();
    for pool in plenty.pools.iter_mut().filter(|pool| pool.size == size) {
        *pool = Pool {
            pages: pool.pages.saturating_add(pages),
            free: pool.free.saturating_add(pages),
            ..*pool
        };
    }
    let nodes: Vec<NodeId> = facts
        .pools
        .iter()
        .filter(|pool| pool.size == size)
        .map(|pool| pool.node)
        .collect();
    let devices = passthrough::plan::plan(spec, facts).map(|(plan, _)| near(&plan));
    let request = place(spec, &plenty, &devices.unwrap_or_default())
        .ok()
        .and_then(|placement| fill::request(&placement, &nodes));
    let short = request
        .and_then(|request| hugepages::reserve(&request, &facts.pools, &facts.hugetlb).err());
    short.map(|short| short.missing()).unwrap_or_default()
}

/// Gives the pages back.
pub fn shrink(grown: Option<Grown>) {
    if let Some(Err(error)) = grown.map(Grown::shrink) {
        tracing::warn!(event = "pool-not-shrunk", error = %crate::causes::chain(&error), "the pools of huge pages are larger than before; the next run tries again");
    }
}

#[cfg(test)]
mod tests {
    use hugepages::{Bytes, PageSize};

    use super::*;
    use crate::plan::fixtures;

    fn facts(free: u64) -> HostFacts {
        let mut facts = fixtures::facts();
        facts.pools = vec![Pool {
            node: NodeId(0),
            size: PageSize::MIB_2,
            pages: free,
            free,
            surplus: 0,
            reserved_on_host: 0,
        }];
        facts
    }

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let mut spec = fixtures::spec();
        assert!(lacking(&spec, &facts(0)).is_empty(), "no huge pages");
        spec.memory.hugepages = Some(PageSize::MIB_2);
        spec.memory.guest = Bytes(64 << 20);
        let pages = |free| {
            let wanted = lacking(&spec, &facts(free));
            wanted.iter().map(|growth| growth.pages).collect::<Vec<_>>()
        };
        assert_eq!(pages(0), [32]);
        assert_eq!(pages(30), [2]);
        assert!(pages(32).is_empty());
    }
}

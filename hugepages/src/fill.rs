//! How far a fill has come, from the nodes' free counts. Whoever fills is not asked: QEMU does not answer until it
//! is done.

use std::collections::BTreeMap;

use numa::{FactError, HostRoot, NodeId};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::page_size::PageSize;
use crate::pool::{self, Pool};
use crate::request::Reservation;

/// How far a fill has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes a page.
    pub size: PageSize,
    /// By node.
    pub nodes: BTreeMap<NodeId, Filled>,
}

/// One node's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filled {
    /// Pages it is to give.
    pub wanted: u64,
    /// Pages gone from its free ones since the start; at most `wanted`. Those that others take meanwhile count too.
    pub filled: u64,
}

impl Progress {
    /// What is filled.
    pub fn filled(&self) -> Bytes {
        self.sum(|node| node.filled)
    }

    /// What is to be filled.
    pub fn wanted(&self) -> Bytes {
        self.sum(|node| node.wanted)
    }

    /// Whether nothing is left to fill.
    pub fn is_done(&self) -> bool {
        self.nodes.values().all(|node| node.filled >= node.wanted)
    }

    fn sum(&self, pages: impl Fn(&Filled) -> u64) -> Bytes {
        let pages = self.nodes.values().map(pages).fold(0, u64::saturating_add);
        Bytes(pages.saturating_mul(self.size.0.0))
    }
}

/// How far a fill of `reservation` has come when the pools that were `before` are so `now`.
pub fn progress(reservation: &Reservation, before: &[Pool], now: &[Pool]) -> Progress {
    let free = |pools: &[Pool], node| {
        let pool = pools
            .iter()
            .find(|pool| pool.node == node && pool.size == reservation.size);
        pool.map_or(0, |pool| pool.free)
    };
    let nodes = reservation.by_node().into_iter().map(|(node, wanted)| {
        let gone = free(before, node).saturating_sub(free(now, node));
        let filled = gone.min(wanted);
        (node, Filled { wanted, filled })
    });
    Progress {
        size: reservation.size,
        nodes: nodes.collect(),
    }
}

/// Reads how far a fill has come, once for each call of `next`: at what pace is the caller's affair. Never goes
/// back, and ends after the one that is done.
#[derive(Debug)]
pub struct Sampler {
    root: HostRoot,
    reservation: Reservation,
    before: Vec<Pool>,
    last: Option<Progress>,
}

impl Sampler {
    /// Of a fill that has not begun: reads where the pools stand.
    pub fn start(root: &HostRoot, reservation: Reservation) -> Result<Self, FactError> {
        let mut sampler = Self {
            root: root.clone(),
            reservation,
            before: Vec::new(),
            last: None,
        };
        sampler.before = sampler.read()?;
        Ok(sampler)
    }

    fn read(&self) -> Result<Vec<Pool>, FactError> {
        let nodes = self.reservation.by_node();
        nodes
            .into_keys()
            .map(|node| pool::pool(&self.root, node, self.reservation.size))
            .collect()
    }
}

impl Iterator for Sampler {
    type Item = Result<Progress, FactError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.last.as_ref().is_some_and(Progress::is_done) {
            return None;
        }
        let now = match self.read() {
            Ok(now) => now,
            Err(error) => return Some(Err(error)),
        };
        let mut progress = progress(&self.reservation, &self.before, &now);
        for (node, last) in self.last.iter().flat_map(|last| &last.nodes) {
            if let Some(now) = progress.nodes.get_mut(node) {
                // Others gave pages back.
                now.filled = now.filled.max(last.filled);
            }
        }
        self.last = Some(progress.clone());
        Some(Ok(progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(node: u32, free: u64) -> Pool {
        Pool {
            node: NodeId(node),
            size: PageSize::GIB_1,
            pages: 8,
            free,
            surplus: 0,
            reserved_on_host: 0,
        }
    }

    fn reservation() -> Reservation {
        let part = |node, pages| BTreeMap::from([(NodeId(node), pages)]);
        Reservation {
            size: PageSize::GIB_1,
            parts: vec![part(0, 1), part(1, 2), part(1, 1)],
        }
    }

    #[test]
    fn what_is_gone_from_the_free_ones_is_filled() {
        let before = [pool(0, 4), pool(1, 8), pool(2, 8)];
        let now = [pool(0, 4), pool(1, 6), pool(2, 0)];
        let at = progress(&reservation(), &before, &now);
        assert_eq!((at.filled(), at.wanted()), (Bytes(2 << 30), Bytes(4 << 30)));
        assert!(!at.is_done());
        // Others took some too.
        let at = progress(&reservation(), &before, &[pool(0, 0), pool(1, 0)]);
        assert_eq!(at.filled(), at.wanted());
        assert!(at.is_done());
        // Others gave some back.
        let at = progress(&reservation(), &before, &[pool(0, 8), pool(1, 8)]);
        assert_eq!(at.filled(), Bytes(0));
    }

    #[test]
    fn a_sampler_never_goes_back_and_ends_when_it_is_done() {
        let keep = tempfile::tempdir().unwrap();
        let root = camino::Utf8Path::from_path(keep.path()).unwrap();
        let set = |node: u32, free: u64| {
            let pool = root.join(format!(
                "sys/devices/system/node/node{node}/hugepages/hugepages-1048576kB"
            ));
            std::fs::create_dir_all(&pool).unwrap();
            std::fs::write(pool.join("free_hugepages"), format!("{free}\n")).unwrap();
        };
        set(0, 4);
        set(1, 8);
        std::fs::write(root.join("sys/devices/system/node/online"), "0-1\n").unwrap();
        let mut sampler = Sampler::start(&HostRoot::new(root), reservation()).unwrap();
        let mut filled = || sampler.next().map(|it| it.unwrap().filled().0 >> 30);
        assert_eq!(filled(), Some(0));
        set(1, 6);
        assert_eq!(filled(), Some(2));
        set(1, 7);
        assert_eq!(filled(), Some(2));
        set(0, 3);
        set(1, 5);
        assert_eq!(filled(), Some(4));
        assert_eq!(filled(), None);
    }
}

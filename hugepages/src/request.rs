//! What is asked of the pools, and what they are to give.

use std::collections::BTreeMap;

use numa::NodeId;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::page_size::PageSize;

/// Pages of one size, in parts that may each be on other nodes (a guest's memory, a part a cell).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Bytes a page.
    pub size: PageSize,
    /// Independent of each other, and all needed.
    pub parts: Vec<Part>,
}

/// Some of the pages, and where they may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many.
    pub pages: u64,
    /// Where.
    pub nodes: Nodes,
}

/// Where a part's pages may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Nodes {
    /// All on this one.
    On(NodeId),
    /// On the first of these that has enough; where none has, on the first of them that have enough together. A
    /// list by distance (`Topology::by_distance`) makes that the nearest.
    AnyOf(Vec<NodeId>),
}

impl Nodes {
    /// All that may serve, the best first.
    pub fn all(&self) -> &[NodeId] {
        match self {
            Self::On(node) => std::slice::from_ref(node),
            Self::AnyOf(nodes) => nodes,
        }
    }
}

impl Request {
    /// Pages in all parts.
    pub fn pages(&self) -> u64 {
        let pages = self.parts.iter().map(|part| part.pages);
        pages.fold(0, u64::saturating_add)
    }
}

/// Which pool gives how many pages. Nothing is taken by it: others may be faster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Bytes a page.
    pub size: PageSize,
    /// Pages by node, one entry for each part of the request, in its order.
    pub parts: Vec<BTreeMap<NodeId, u64>>,
}

impl Reservation {
    /// Pages by node, all parts together.
    pub fn by_node(&self) -> BTreeMap<NodeId, u64> {
        let mut sum = BTreeMap::new();
        for (node, pages) in self.parts.iter().flatten() {
            let entry: &mut u64 = sum.entry(*node).or_default();
            *entry = entry.saturating_add(*pages);
        }
        sum
    }

    /// Pages in all.
    pub fn pages(&self) -> u64 {
        self.by_node().values().fold(0, |a, b| a.saturating_add(*b))
    }

    /// Bytes in all.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.pages().saturating_mul(self.size.0.0))
    }
}

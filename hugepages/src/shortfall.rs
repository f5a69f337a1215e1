//! [`Shortfall`]: why pages are not to be had, with the numbers.

use std::fmt::{self, Display};

use numa::NodeId;
use serde::{Deserialize, Serialize};

use crate::grow::Growth;
use crate::limit::Limit;
use crate::page_size::PageSize;
use crate::pool::Pool;

/// Pages that are not to be had. Names every node's free pages and everything that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// Bytes a page.
    pub size: PageSize,
    /// Pages asked for, in all.
    pub wanted: u64,
    /// The host's pools of that size.
    pub pools: Vec<Pool>,
    /// What stands in the way; never empty.
    pub bites: Vec<Bite>,
}

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bite {
    /// These nodes, one or more, have fewer free pages than they were to give.
    Nodes {
        /// Those that might have served, the best first.
        nodes: Vec<NodeId>,
        /// Pages they were to give together.
        wanted: u64,
        /// Pages they have left for it.
        free: u64,
    },
    /// Free pages of the host are promised to others that have mapped and not touched them.
    Promised {
        /// Free pages on all nodes.
        free: u64,
        /// Those of them that are promised.
        reserved: u64,
    },
    /// A control group's limit.
    Limit(Limit),
}

impl Shortfall {
    /// By how much pools would have to grow so that the nodes have enough: the first of several nodes gets what is
    /// missing. Empty where only other things stand in the way.
    pub fn missing(&self) -> Vec<Growth> {
        let short = self.bites.iter().filter_map(|bite| match bite {
            Bite::Nodes {
                nodes,
                wanted,
                free,
            } => Some((*nodes.first()?, wanted.saturating_sub(*free))),
            _ => None,
        });
        let mut missing: Vec<Growth> = Vec::new();
        for (node, pages) in short {
            match missing.iter_mut().find(|growth| growth.node == node) {
                Some(growth) => growth.pages = growth.pages.saturating_add(pages),
                None => missing.push(Growth {
                    node,
                    size: self.size,
                    // A pool that grows takes its surplus pages in before it makes new ones.
                    pages: pages.saturating_add(self.surplus(node)),
                }),
            }
        }
        missing
    }

    fn surplus(&self, node: NodeId) -> u64 {
        let pool = self.pools.iter().find(|pool| pool.node == node);
        pool.map_or(0, |pool| pool.surplus)
    }
}

impl std::error::Error for Shortfall {}

impl Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, wanted, .. } = self;
        write!(f, "`{wanted}` pages of `{size}` are not to be had: ")?;
        for (index, bite) in self.bites.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{bite}")?;
        }
        f.write_str(" (free: ")?;
        for (index, pool) in self.pools.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let Pool {
                node, free, pages, ..
            } = pool;
            write!(f, "{separator}node {} `{free}` of `{pages}`", node.0)?;
        }
        f.write_str(if self.pools.is_empty() {
            "no pool of that size)"
        } else {
            ")"
        })
    }
}

impl Display for Bite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes {
                nodes,
                wanted,
                free,
            } => match nodes.as_slice() {
                [] => write!(f, "no node may give them"),
                [node] => write!(f, "node {} was to give `{wanted}` and has `{free}`", node.0),
                nodes => {
                    f.write_str("nodes ")?;
                    for (index, node) in nodes.iter().enumerate() {
                        write!(f, "{}{}", if index == 0 { "" } else { ", " }, node.0)?;
                    }
                    write!(f, " were to give `{wanted}` and have `{free}` together")
                }
            },
            Self::Promised { free, reserved } => write!(
                f,
                "`{reserved}` of the host's `{free}` free pages are promised to others"
            ),
            Self::Limit(limit) => write!(
                f,
                "`{}` limits {} to `{}`, of which `{}` are left",
                limit.file,
                limit.of,
                limit.limit,
                limit.left()
            ),
        }
    }
}

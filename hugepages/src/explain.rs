//! A fill that failed, explained from counts: QEMU says `Bad address` for an empty node and for a control group's
//! limit alike.

use numa::{Cgroup, FactError, HostRoot};
use serde::{Deserialize, Serialize};

use crate::limit::{self, Limit, Refusals};
use crate::pool::{self, Pool};
use crate::request::Request;
use crate::reserve::reserve;
use crate::shortfall::{Bite, Shortfall};

/// All that is counted of huge pages at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The host's pools.
    pub pools: Vec<Pool>,
    /// Limits of the process's control groups.
    pub limits: Vec<Limit>,
    /// How often those have refused.
    pub refusals: Vec<Refusals>,
}

impl Counts {
    /// Reads them all.
    pub fn read(root: &HostRoot, cgroup: &Cgroup) -> Result<Self, FactError> {
        let pools = pool::pools(root)?;
        let sizes = pool::sizes(&pools);
        Ok(Self {
            limits: limit::limits(cgroup, &sizes)?,
            refusals: limit::refusals(cgroup, &sizes)?,
            pools,
        })
    }
}

/// Why the fill of `request` failed, from the counts `before` it and `after` it, these read once the process that
/// filled is gone and its pages are back. None where the counts do not tell: then it was something else.
pub fn explain(request: &Request, before: &Counts, after: &Counts) -> Option<Shortfall> {
    if let Some(limit) = hit(request, before, after) {
        let mut pools = after.pools.clone();
        pools.retain(|pool| pool.size == request.size);
        return Some(Shortfall {
            size: request.size,
            wanted: request.pages(),
            pools,
            bites: vec![Bite::Limit(limit)],
        });
    }
    // What is short now was short then, or somebody took it meanwhile; what was short before may have come since.
    let now = reserve(request, &after.pools, &after.limits).err();
    now.or_else(|| reserve(request, &before.pools, &before.limits).err())
}

/// The limit that was hit meanwhile, by the counts of refusals.
fn hit(request: &Request, before: &Counts, after: &Counts) -> Option<Limit> {
    let rose = |now: &&Refusals| {
        let then = before
            .refusals
            .iter()
            .find(|then| then.size == now.size && then.file == now.file);
        now.size == request.size && now.count > then.map_or(0, |then| then.count)
    };
    let risen: Vec<&Refusals> = after.refusals.iter().filter(rose).collect();
    if risen.is_empty() {
        return None;
    }
    // A v1 group counts for its own limit. A v2 group counts for those above it too, so there any may be it.
    let of_v1 = |limit: &&Limit| {
        risen.iter().any(|refusals| {
            refusals.file.as_str().replace("failcnt", "limit_in_bytes") == limit.file.as_str()
        })
    };
    let limits = || {
        let known = after.limits.iter().chain(&before.limits);
        known.filter(|limit| limit.size == request.size)
    };
    limits()
        .find(of_v1)
        .or_else(|| limits().min_by_key(|limit| limit.left()))
        .cloned()
}

#[cfg(test)]
mod tests {
    use numa::NodeId;

    use super::*;
    use crate::limit::Counted;
    use crate::request::{Nodes, Part};
    use crate::{Bytes, PageSize};

    fn request() -> Request {
        Request {
            size: PageSize::GIB_1,
            parts: vec![Part {
                pages: 2,
                nodes: Nodes::On(NodeId(0)),
            }],
        }
    }

    fn counts(free: u64, refused: u64) -> Counts {
        let limit = |of, file: &str, gib: u64| Limit {
            size: PageSize::GIB_1,
            of,
            limit: Bytes(gib << 30),
            current: Bytes(0),
            file: file.into(),
        };
        Counts {
            pools: vec![Pool {
                node: NodeId(0),
                size: PageSize::GIB_1,
                pages: 4,
                free,
                surplus: 0,
                reserved_on_host: 0,
            }],
            limits: vec![
                limit(Counted::Usage, "/cg/hugetlb.1GB.limit_in_bytes", 6),
                limit(
                    Counted::Reservations,
                    "/cg/hugetlb.1GB.rsvd.limit_in_bytes",
                    5,
                ),
            ],
            refusals: vec![Refusals {
                size: PageSize::GIB_1,
                file: "/cg/hugetlb.1GB.failcnt".into(),
                count: refused,
            }],
        }
    }

    #[test]
    fn a_refusal_counted_meanwhile_is_the_reason() {
        let short = explain(&request(), &counts(4, 3), &counts(4, 4)).unwrap();
        // The one whose count rose, though another leaves less.
        let [Bite::Limit(limit)] = short.bites.as_slice() else {
            panic!("{short}");
        };
        assert_eq!(limit.file, "/cg/hugetlb.1GB.limit_in_bytes");
        // Of v2 there is no telling which: the one that leaves least.
        let v2 = |refused| {
            let mut counts = counts(4, refused);
            counts.refusals[0].file = "/cg/hugetlb.1GB.events".into();
            counts
        };
        let short = explain(&request(), &v2(0), &v2(1)).unwrap();
        let [Bite::Limit(limit)] = short.bites.as_slice() else {
            panic!("{short}");
        };
        assert_eq!(limit.of, Counted::Reservations);
    }

    #[test]
    fn pages_that_others_took_are_the_reason_and_otherwise_none_is_known() {
        let short = explain(&request(), &counts(4, 0), &counts(1, 0)).unwrap();
        assert!(matches!(short.bites[..], [Bite::Nodes { free: 1, .. }]));
        let short = explain(&request(), &counts(1, 0), &counts(4, 0)).unwrap();
        assert!(matches!(short.bites[..], [Bite::Nodes { free: 1, .. }]));
        assert_eq!(explain(&request(), &counts(4, 7), &counts(4, 7)), None);
    }
}

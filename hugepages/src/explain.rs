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

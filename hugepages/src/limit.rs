//! What control groups let one take of the pools: limits on pages in use and on reservations, and how often they
//! have refused (`Documentation/admin-guide/cgroup-v{1,2}`, hugetlb).

use std::fmt;

use camino::Utf8PathBuf;
use numa::cgroup::{self, Group, Version};
use numa::file::{self, USUAL_LIMIT};
use numa::{Cgroup, ControlFile, FactError};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::page_size::PageSize;

/// One limit that is set, in the process's own group or one above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Of pages of this size.
    pub size: PageSize,
    /// What is limited.
    pub of: Counted,
    /// The most that the group and those below may have together.
    pub limit: Bytes,
    /// What they have now.
    pub current: Bytes,
    /// Where the limit is written, as the machine names it.
    pub file: Utf8PathBuf,
}

/// What a control group counts of huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// Pages that were touched: above the limit a fault ends in `SIGBUS`.
    Usage,
    /// Pages that were mapped or allocated, touched or not: above the limit `mmap` fails (kernel 5.7 on).
    Reservations,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usage => "use",
            Self::Reservations => "reservations",
        })
    }
}

impl Limit {
    /// What may still be taken.
    pub fn left(&self) -> Bytes {
        Bytes(self.limit.0.saturating_sub(self.current.0))
    }

    /// The same in whole pages.
    pub fn pages_left(&self) -> u64 {
        self.left().0.checked_div(self.size.0.0).unwrap_or(0)
    }
}

/// The limit that bites first on pages of `size`.
pub fn tightest(limits: &[Limit], size: PageSize) -> Option<&Limit> {
    let of_size = limits.iter().filter(|limit| limit.size == size);
    of_size.min_by_key(|limit| limit.left())
}

/// How often a group has refused pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// Of pages of this size.
    pub size: PageSize,
    /// Where the count is, as the machine names it.
    pub file: Utf8PathBuf,
    /// Since the group was made (or, in v1, since somebody wrote 0).
    pub count: u64,
}

/// How one version names the files of one count, without `hugetlb.<size>.`.
struct Names {
    of: Counted,
    limit: &'static str,
    current: &'static str,
}

const fn names(version: Version) -> [Names; 2] {
    let (usage, reservations) = match version {
        Version::V2 => (("max", "current"), ("rsvd.max", "rsvd.current")),
        Version::V1 => (
            ("limit_in_bytes", "usage_in_bytes"),
            ("rsvd.limit_in_bytes", "rsvd.usage_in_bytes"),
        ),
    };
    [
        Names {
            of: Counted::Usage,
            limit: usage.0,
            current: usage.1,
        },
        Names {
            of: Counted::Reservations,
            limit: reservations.0,
            current: reservations.1,
        },
    ]
}

/// Every limit on pages of `sizes`, the nearest group's first.
///
/// The kubelet sets them to what the pod asked for, 0 for a pod that asked for nothing.
pub fn limits(cgroup: &Cgroup, sizes: &[PageSize]) -> Result<Vec<Limit>, FactError> {
    let mut limits = Vec::new();
    for &size in sizes {
        for group in cgroup.groups("hugetlb") {
            for names in names(group.version) {
                limits.extend(limit(group, size, &names)?);
            }
        }
    }
    Ok(limits)
}

fn limit(group: Group<'_>, size: PageSize, names: &Names) -> Result<Option<Limit>, FactError> {
    let at = |name| {
        group
            .directory
            .join(format!("hugetlb.{}.{name}", size.cgroup_form()))
    };
    let path = at(names.limit);
    let Some(text) = file::read(&path, USUAL_LIMIT)? else {
        return Ok(None);
    };
    let Some(limit) = cgroup::limit(&path, &text)? else {
        return Ok(None);
    };
    let current = file::value(&at(names.current), "a number of bytes")?;
    Ok(Some(Limit {
        size,
        of: names.of,
        limit: Bytes(limit),
        current: Bytes(current.unwrap_or(0)),
        file: group.inside(&path),
    }))
}

/// How often the process's own group and those above have refused pages of `sizes`. A v2 group counts for itself
/// and those below, whichever limit it was; a v1 group counts for its own limits.
pub fn refusals(cgroup: &Cgroup, sizes: &[PageSize]) -> Result<Vec<Refusals>, FactError> {
    let mut refusals = Vec::new();
    for &size in sizes {
        let form = size.cgroup_form();
        for group in cgroup.groups("hugetlb") {
            let names: &[&str] = match group.version {
                Version::V2 => &["events"],
                Version::V1 => &["failcnt", "rsvd.failcnt"],
            };
            for name in names {
                let path = group.directory.join(format!("hugetlb.{form}.{name}"));
                let Some(text) = file::read(&path, USUAL_LIMIT)? else {
                    continue;
                };
                let number = match group.version {
                    Version::V1 => Some(text.trim()),
                    Version::V2 => text.lines().find_map(|line| line.strip_prefix("max ")),
                };
                let count = number
                    .and_then(|number| number.trim().parse().ok())
                    .ok_or_else(|| {
                        FactError::malformed(&path, &text, "how often the limit was hit")
                    })?;
                refusals.push(Refusals {
                    size,
                    file: group.inside(&path),
                    count,
                });
            }
        }
    }
    Ok(refusals)
}

/// The most that this process's control groups let it have in pages of `size`: the lowest of the limits on use
/// and on reservations, own group and those above, whatever is taken already. None where nothing is limited.
pub fn cgroup_limit(cgroup: &Cgroup, size: PageSize) -> Result<Option<Bytes>, FactError> {
    let form = size.cgroup_form();
    let limit = |v2: &str, v1: &str| {
        cgroup.limit(&ControlFile {
            controller: "hugetlb",
            v2: &format!("hugetlb.{form}.{v2}"),
            v1: &format!("hugetlb.{form}.{v1}"),
        })
    };
    let used = limit("max", "limit_in_bytes")?;
    let reserved = limit("rsvd.max", "rsvd.limit_in_bytes")?;
    Ok(used.into_iter().chain(reserved).min().map(Bytes))
}

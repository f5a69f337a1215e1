//! [`CpuSet`]: CPU or node ids without an upper bound, in the kernel's list form both ways.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A CPU's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CpuId(pub u32);

/// A NUMA node's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// Ids of CPUs (or nodes), in ascending order; written `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuSet(BTreeSet<u32>);

/// Not a list such as `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a CPU list such as `0-3,8`: {reason}")]
pub struct BadCpuList {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The kernel's own ceiling is far below (`CONFIG_NR_CPUS` is at most 8192): a larger id is a mistake or an attack.
const HIGHEST_ID: u32 = 1 << 20;

impl CpuSet {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `id` is in it.
    pub fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }

    /// Adds `id`; false when it was there.
    pub fn insert(&mut self, id: u32) -> bool {
        self.0.insert(id)
    }

    /// Takes `id` out; false when it was not there.
    pub fn remove(&mut self, id: u32) -> bool {
        self.0.remove(&id)
    }

    /// In ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Ids in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Ids of this one that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// Ids in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// Whether every id of this one is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<T: IntoIterator<Item = u32>>(ids: T) -> Self {
        Self(ids.into_iter().collect())
    }
}

impl FromStr for CpuSet {
    type Err = BadCpuList;

    /// The kernel's list form (`cpulist_parse`); surrounding white space and an empty list are fine.
    fn from_str(text: &str) -> Result<Self, BadCpuList> {
        let bad = |reason| BadCpuList {
            text: text.chars().take(80).collect(),
            reason,
        };
        let id = |part: &str| -> Result<u32, BadCpuList> {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad("an id is a decimal number"));
            }
            part.parse()
                .ok()
                .filter(|id| *id <= HIGHEST_ID)
                .ok_or_else(|| bad("an id is too large"))
        };
        let mut set = BTreeSet::new();
        let list = text.trim();
        if list.is_empty() {
            return Ok(Self(set));
        }
        for part in list.split(',') {
            match part.split_once('-') {
                None => {
                    set.insert(id(part)?);
                }
                Some((first, last)) => {
                    let (first, last) = (id(first)?, id(last)?);
                    if first > last {
                        return Err(bad("a range ends before it starts"));
                    }
                    set.extend(first..=last);
                }
            }
        }
        Ok(Self(set))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = ids.next() {
            let mut last = first;
            while let Some(next) = ids.next_if(|next| *next == last + 1) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl TryFrom<String> for CpuSet {
    type Error = BadCpuList;

    fn try_from(text: String) -> Result<Self, BadCpuList> {
        text.parse()
    }
}

impl From<CpuSet> for String {
    fn from(set: CpuSet) -> Self {
        set.to_string()
    }
}

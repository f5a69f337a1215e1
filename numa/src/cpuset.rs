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

/// Ids of CPUs (or nodes), in ascending order; written `0-3,8`, read also as `0-31:2/8` (the first two of every
/// eight).
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

    /// The lowest.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
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

impl Extend<u32> for CpuSet {
    fn extend<T: IntoIterator<Item = u32>>(&mut self, ids: T) {
        self.0.extend(ids);
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
        // What a set can hold: more comes only of ranges that lie over each other, and costs time for nothing.
        let mut left = u64::from(HIGHEST_ID) + 1;
        for part in list.split(',') {
            match part.split_once('-') {
                None => {
                    set.insert(id(part)?);
                }
                Some((first, rest)) => {
                    let (last, stride) = match rest.split_once(':') {
                        None => (rest, None),
                        Some((last, stride)) => (last, Some(stride)),
                    };
                    let (first, last) = (id(first)?, id(last)?);
                    if first > last {
                        return Err(bad("a range ends before it starts"));
                    }
                    left = left
                        .checked_sub(u64::from(last - first) + 1)
                        .ok_or_else(|| bad("its ranges lie over each other too often"))?;
                    let (used, group) = match stride.map(|stride| stride.split_once('/')) {
                        None => (1, 1),
                        Some(Some((used, group))) => (id(used)?, id(group)?),
                        Some(None) => return Err(bad("a stride is `used/group`")),
                    };
                    if used == 0 || used > group {
                        return Err(bad(
                            "a stride uses at least one, and no more than its group",
                        ));
                    }
                    set.extend((first..=last).filter(|id| (id - first) % group < used));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_over_each_other_cost_no_time() {
        let range = format!("1-{}", HIGHEST_ID / 2 + 1);
        let error = format!("0-3,0-3,{range},{range}")
            .parse::<CpuSet>()
            .unwrap_err();
        assert!(error.reason.contains("over each other"), "{error}");
        assert_eq!(ids("0-3,2-5"), [0, 1, 2, 3, 4, 5]);
    }

    fn ids(text: &str) -> Vec<u32> {
        text.parse::<CpuSet>().unwrap().iter().collect()
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(ids("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(ids("\n"), [0; 0]);
        assert_eq!(ids("8,0-1,1-2"), [0, 1, 2, 8]);
        assert_eq!(ids("1023-1025"), [1023, 1024, 1025]);
    }

    #[test]
    fn reads_strides() {
        // `bitmap_parselist`: used_size/group_size.
        assert_eq!(ids("0-15:2/8"), [0, 1, 8, 9]);
        assert_eq!(ids("0-4:1/2,7"), [0, 2, 4, 7]);
        assert_eq!(ids("2-5:3/3"), [2, 3, 4, 5]);
    }

    #[test]
    fn refuses_other_shapes() {
        for text in [
            ",",
            "0,",
            "-1",
            "0-",
            "3-1",
            "0x1",
            "+1",
            "1 2",
            "0--1",
            "1:1/2",
            "0-4:2",
            "0-4:0/2",
            "0-4:3/2",
            "0-4:1/0",
            "0-4:1/2/3",
            "4294967296",
            "1048577",
            "all",
        ] {
            assert!(text.parse::<CpuSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_in_the_error() {
        let error = "x".repeat(1000).parse::<CpuSet>().unwrap_err();
        assert_eq!(error.text.len(), 80);
    }

    fn set() -> impl Strategy<Value = CpuSet> {
        proptest::collection::btree_set(0_u32..2048, 0..64).prop_map(CpuSet::from_iter)
    }

    proptest! {
        #[test]
        fn text_reads_back(set in set()) {
            prop_assert_eq!(set.to_string().parse::<CpuSet>(), Ok(set.clone()));
            let json = serde_json::to_string(&set).unwrap();
            prop_assert_eq!(serde_json::from_str::<CpuSet>(&json).unwrap(), set);
        }

        #[test]
        fn text_is_shortest(first in 0_u32..5000, more in 1_u32..100) {
            let run = CpuSet::from_iter(first..=first + more);
            prop_assert_eq!(run.to_string(), format!("{first}-{}", first + more));
        }

        #[test]
        fn set_algebra(a in set(), b in set()) {
            let both = a.intersection(&b);
            prop_assert!(both.is_subset(&a) && both.is_subset(&b));
            prop_assert_eq!(a.difference(&b).union(&both), a.clone());
            prop_assert_eq!(a.union(&b).len() + both.len(), a.len() + b.len());
        }

        #[test]
        fn no_text_panics(text in "[0-9,:/ -]{0,24}|.{0,24}") {
            let _ = text.parse::<CpuSet>();
        }
    }
}

//! [`PageSize`]: the one place that knows how a huge page's size is written.
//!
//! A VMI says `1Gi`, the kernel `1048576kB` (and `hugepages-1048576kB` in sysfs), a hugetlb cgroup `1GB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// The size of a huge page, a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageSize(pub Bytes);

/// Not the size of a huge page, in any of the known spellings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the size of a huge page such as `2Mi`, `1Gi`, `1048576kB` or `1GB`")]
pub struct BadPageSize {
    /// What was given, cut to 80 characters.
    pub text: String,
}

/// All are binary: the kernel's `kB` and `GB` too.
const UNITS: [(&str, u32); 9] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("kB", 10),
    ("KB", 10),
    ("MB", 20),
    ("GB", 30),
    ("", 0),
];

/// The unit of a hugetlb cgroup's file names (`mem_fmt` in `mm/hugetlb_cgroup.c`).
const CGROUP_UNITS: [(&str, u32); 3] = [("GB", 30), ("MB", 20), ("KB", 10)];

impl PageSize {
    /// 2 MiB.
    pub const MIB_2: Self = Self(Bytes(2 << 20));
    /// 1 GiB.
    pub const GIB_1: Self = Self(Bytes(1 << 30));

    /// As sysfs names its directory: `hugepages-1048576kB`.
    pub fn sysfs_name(self) -> String {
        format!("hugepages-{}", self.kernel_form())
    }

    /// By its directory's name in sysfs.
    pub fn from_sysfs_name(name: &str) -> Option<Self> {
        name.strip_prefix("hugepages-")?.parse().ok()
    }

    /// As the kernel writes it: `1048576kB`.
    pub fn kernel_form(self) -> String {
        format!("{}kB", self.0.0 >> 10)
    }

    /// As a hugetlb cgroup's files have it, the largest unit of which there is one: `1GB`, `2MB`, `64KB`.
    pub fn cgroup_form(self) -> String {
        let (unit, shift) = CGROUP_UNITS
            .into_iter()
            .find(|(_, shift)| self.0.0 >> shift > 0)
            .unwrap_or(("KB", 10));
        format!("{}{unit}", self.0.0 >> shift)
    }

    /// How many pages `size` takes; none when it is no whole number of them.
    pub fn count(self, size: Bytes) -> Option<u64> {
        size.0
            .checked_rem(self.0.0)
            .filter(|rest| *rest == 0)
            .map(|_| size.0 / self.0.0)
    }
}

impl FromStr for PageSize {
    type Err = BadPageSize;

    /// Any of the spellings above. No architecture has huge pages below 32 KiB.
    fn from_str(text: &str) -> Result<Self, BadPageSize> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = UNITS.iter().find(|(name, _)| *name == unit);
        let bytes = shift
            .and_then(|(_, shift)| number.parse::<u64>().ok()?.checked_mul(1 << shift))
            .filter(|bytes| bytes.is_power_of_two() && *bytes >= 32 << 10);
        bytes
            .map(|bytes| Self(Bytes(bytes)))
            .ok_or_else(|| BadPageSize {
                text: text.chars().take(80).collect(),
            })
    }
}

impl fmt::Display for PageSize {
    /// As a VMI has it: `1Gi`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_size_has_many_spellings() {
        for text in ["1Gi", "1048576kB", "1GB", "1024Mi", "1073741824"] {
            assert_eq!(text.parse(), Ok(PageSize::GIB_1), "{text}");
        }
        assert_eq!(PageSize::GIB_1.to_string(), "1Gi");
        assert_eq!(PageSize::GIB_1.kernel_form(), "1048576kB");
        assert_eq!(PageSize::GIB_1.cgroup_form(), "1GB");
        assert_eq!(PageSize::MIB_2.sysfs_name(), "hugepages-2048kB");
        assert_eq!(PageSize(Bytes(64 << 10)).cgroup_form(), "64KB");
    }

    #[test]
    fn refuses_what_is_no_page() {
        for text in [
            "",
            "Gi",
            "1gi",
            "-1Gi",
            "+1Gi",
            "1.5Gi",
            "3Mi",
            "4Ki",
            "0",
            "1 Gi",
            "16777216Ti",
        ] {
            assert!(text.parse::<PageSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_whole_pages_only() {
        assert_eq!(PageSize::MIB_2.count(Bytes(6 << 20)), Some(3));
        assert_eq!(PageSize::MIB_2.count(Bytes(3 << 20)), None);
        assert_eq!(PageSize(Bytes(0)).count(Bytes(1)), None);
    }

    proptest! {
        #[test]
        fn every_spelling_reads_back(shift in 15_u32..=40) {
            let size = PageSize(Bytes(1 << shift));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            prop_assert_eq!(size.kernel_form().parse(), Ok(size));
            prop_assert_eq!(size.cgroup_form().parse(), Ok(size));
            prop_assert_eq!(PageSize::from_sysfs_name(&size.sysfs_name()), Some(size));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<PageSize>();
        }
    }
}

//! Sizes with their unit in the type.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// 1024 bytes.
    pub const KIB: Self = Self(1 << 10);
    /// 1024 KiB.
    pub const MIB: Self = Self(1 << 20);
    /// 1024 MiB.
    pub const GIB: Self = Self(1 << 30);

    /// `count` MiB; none when that overflows.
    pub fn mib(count: u64) -> Option<Self> {
        count.checked_mul(Self::MIB.0).map(Self)
    }

    /// From the kernel's unit; at most what 64 bits hold.
    pub fn from_kib(count: numa::Kib) -> Self {
        Self(count.0.saturating_mul(1 << 10))
    }

    /// Whether it is a whole number of `unit`s.
    pub fn is_multiple_of(self, unit: Self) -> bool {
        unit.0 != 0 && self.0.is_multiple_of(unit.0)
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit that divides it: `512Mi`, `1536Ki`, `1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, suffix) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_largest_unit_that_divides() {
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000"),
            (1536 << 10, "1536Ki"),
            (512 << 20, "512Mi"),
            (3 << 40, "3Ti"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_multiple_of_nothing_is_none() {
        assert!(Bytes::GIB.is_multiple_of(Bytes::MIB));
        assert!(!Bytes(1).is_multiple_of(Bytes::KIB));
        assert!(!Bytes(0).is_multiple_of(Bytes(0)));
    }

    #[test]
    fn mebibytes_do_not_overflow() {
        assert_eq!(Bytes::mib(2), Some(Bytes(2 << 20)));
        assert_eq!(Bytes::mib(u64::MAX), None);
    }
}

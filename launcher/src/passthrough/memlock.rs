//! How much memory QEMU must be allowed to lock: vfio pins all guest memory for DMA.

use hugepages::Bytes;

/// Beyond guest memory: option ROMs, firmware and the device's own regions are mapped for DMA too. 256 KiB were seen for
/// a small guest; KubeVirt and libvirt allow a whole GiB.
pub const BEYOND_GUEST: Bytes = Bytes(64 << 20);

/// What `RLIMIT_MEMLOCK` must be at least.
pub fn needed(guest: Bytes) -> Bytes {
    Bytes(guest.0.saturating_add(BEYOND_GUEST.0))
}

/// What is to be done about the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memlock {
    /// It is enough as it is.
    Enough,
    /// Nobody but us stands in the way: set it to this.
    Raise(Bytes),
    /// It cannot be raised from here.
    Short {
        /// What is needed.
        needed: Bytes,
        /// The hard limit.
        hard: Bytes,
    },
}

/// `soft` and `hard` are the limits now, none for unlimited; `may_raise` is CAP_SYS_RESOURCE.
pub fn decide(guest: Bytes, soft: Option<Bytes>, hard: Option<Bytes>, may_raise: bool) -> Memlock {
    let needed = needed(guest);
    match (soft, hard) {
        (None, _) => Memlock::Enough,
        (Some(soft), _) if soft >= needed => Memlock::Enough,
        (_, None) => Memlock::Raise(needed),
        (_, Some(hard)) if hard >= needed || may_raise => Memlock::Raise(needed),
        (_, Some(hard)) => Memlock::Short { needed, hard },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_left_raised_or_told() {
        let guest = Bytes::GIB;
        let need = needed(guest);
        let short = Some(Bytes::mib(8).unwrap());
        assert_eq!(decide(guest, None, None, false), Memlock::Enough);
        assert_eq!(
            decide(guest, Some(need), Some(need), false),
            Memlock::Enough
        );
        assert_eq!(
            decide(guest, short, Some(need), false),
            Memlock::Raise(need)
        );
        assert_eq!(decide(guest, short, None, false), Memlock::Raise(need));
        assert_eq!(decide(guest, short, short, true), Memlock::Raise(need));
        assert_eq!(
            decide(guest, short, short, false),
            Memlock::Short {
                needed: need,
                hard: Bytes::mib(8).unwrap()
            }
        );
    }
}

//! Memory that vfio pins for DMA, as it does: while QEMU makes its devices, after the last page was filled.
//!
//! The kernel counts what it pins, by `VFIO_IOMMU_MAP_DMA` in `VmLck`, by iommufd in `VmPin` (`vfio_lock_acct`,
//! `do_update_pinned`): no other word of it comes out of QEMU. A terabyte takes minutes, without huge pages many: as long
//! as the count grows, the greeting is not late.

use std::time::{Duration, Instant};

use hugepages::Bytes;
use numa::{HostRoot, file};

/// QEMU's memory, seen at a pace.
#[derive(Debug)]
pub struct Pinned {
    root: HostRoot,
    qemu: i32,
    bytes: Bytes,
    looked: Instant,
    /// From the last look before the count grew first to the first one after it grew last.
    grew: Option<(Instant, Instant)>,
}

impl Pinned {
    /// Of a QEMU that was just started.
    pub fn of(qemu: i32, root: &HostRoot) -> Self {
        Self {
            root: root.clone(),
            qemu,
            bytes: Bytes(0),
            looked: Instant::now(),
            grew: None,
        }
    }

    /// Whether there is more than at the last look.
    pub fn look(&mut self) -> bool {
        let path = self.root.proc(&format!("{}/status", self.qemu));
        // Gone: others tell of its end.
        match file::head(&path, file::USUAL_LIMIT) {
            Ok(Some(text)) => self.saw(count(&text), Instant::now()),
            _ => false,
        }
    }

    fn saw(&mut self, bytes: Bytes, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.looked, now);
        let more = bytes > self.bytes;
        self.bytes = bytes;
        if more {
            let (began, _) = self.grew.unwrap_or((before, before));
            self.grew = Some((began, now));
        }
        more
    }

    /// How much there is, and within which time it came.
    pub fn total(&self) -> (Bytes, Duration) {
        let took = self.grew.map_or(Duration::ZERO, |(began, end)| end - began);
        (self.bytes, took)
    }
}

fn count(status: &str) -> Bytes {
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    // By iommufd a page may be in both.
    let most = ["VmLck:", "VmPin:"].into_iter().filter_map(kib).max();
    Bytes(most.unwrap_or(0).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told_with_the_time_that_it_took() {
        let mut pinned = Pinned::of(7, &HostRoot::default());
        let start = pinned.looked;
        // One second between two looks; the third and the fourth find more.
        for (second, bytes, more) in [
            (1, 0, false),
            (2, 0, false),
            (3, 1, true),
            (4, 2, true),
            (5, 2, false),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(pinned.saw(Bytes(bytes), now), more, "{second} s");
        }
        assert_eq!(pinned.total(), (Bytes(2), Duration::from_secs(2)));
    }

    #[test]
    fn either_count_of_the_kernels_is_read() {
        let text = |lck, pin| {
            format!("Name:\tqemu\nVmLck:\t {lck} kB\nVmPin:\t {pin} kB\nVmHWM:\t 9 kB\n")
        };
        assert_eq!(count(&text(1024, 0)), Bytes(1 << 20));
        assert_eq!(count(&text(0, 1024)), Bytes(1 << 20));
        assert_eq!(count(&text(1024, 1024)), Bytes(1 << 20));
        assert_eq!(count(""), Bytes(0));
    }
}

//! What a session dropped.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was dropped on the way, for whoever wonders.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) unknown_ids: AtomicU64,
    pub(super) late_replies: AtomicU64,
    pub(super) garbage: AtomicU64,
    pub(super) overlong: AtomicU64,
}

impl Counters {
    /// Replies with an id that this session never gave.
    pub fn unknown_ids(&self) -> u64 {
        self.unknown_ids.load(Ordering::Relaxed)
    }

    /// Replies to calls that were cancelled or timed out.
    pub fn late_replies(&self) -> u64 {
        self.late_replies.load(Ordering::Relaxed)
    }

    /// Lines that were no QMP.
    pub fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }

    /// Lines over the size limit.
    pub fn overlong(&self) -> u64 {
        self.overlong.load(Ordering::Relaxed)
    }
}

//! Guest RAM.

use hugepages::Bytes;

/// `spec.domain.memory` and `resources`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the guest sees as RAM; a multiple of 1 MiB.
    pub guest: Bytes,
    /// Free page reporting on the balloon (on unless the annotation turns it off).
    pub free_page_reporting: bool,
}

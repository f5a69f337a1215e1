//! Guest RAM.

use hugepages::{Bytes, PageSize};

/// `spec.domain.memory` and `resources`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the guest sees as RAM; a multiple of 1 MiB.
    pub guest: Bytes,
    /// `hugepages.pageSize`; `guest` is a whole number of them.
    pub hugepages: Option<PageSize>,
    /// Memory is a memfd; off by the annotation `kubevirt.io/memfd: "false"`, which concerns huge pages alone.
    pub memfd: bool,
    /// Free page reporting on the balloon (on unless the annotation turns it off).
    pub free_page_reporting: bool,
}

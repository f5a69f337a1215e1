//! I/O threads, by `ioThreadsPolicy` and the disks' `dedicatedIOThread`.

/// How many there are; each disk names those that serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Iothreads {
    /// Numbered from 1.
    pub count: u32,
    /// `supplementalPool`: every virtio disk is served by all of them, and with dedicated CPUs each has one of its own.
    pub supplemental: bool,
}

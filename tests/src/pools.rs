//! The machine's pools of huge pages, for one test at a time, and left as they were found.

use std::fs::File;
use std::time::Duration;

use camino::Utf8Path;
use hugepages::{GrowError, Grown, Growth, PageSize, Pool};
use numa::{HostRoot, NodeId};

/// Where what tests grow is written down. A test that was killed is cleaned up after by the next one. Not below `/run`,
/// which a test that makes a world of its own sees no more.
const STATE: &str = "/var/tmp/virt-launcher-tests/pools";
/// Held by the one test that uses pools, of all checkouts on this machine.
const LOCK: &str = "/var/tmp/virt-launcher-tests/pools.lock";

/// The pools of node 0. Dropping it shrinks what it grew, whatever the outcome.
#[derive(Debug)]
pub struct Held {
    before: Vec<Pool>,
    // In the order of their dropping: what was grown shrinks, then what was kept comes back.
    grown: Vec<Grown>,
    _kept: Kept,
    _lock: File,
}

/// Pages of 1Gi that `tests/setup/with-pages` keeps for whoever holds the pools: out of the pool meanwhile, and back in it
/// afterwards.
#[derive(Debug)]
struct Kept {
    pages: u64,
}

impl Kept {
    fn take() -> Self {
        let pages = std::env::var("TESTS_HELD_1GI")
            .ok()
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        let kept = Self { pages };
        kept.change(|now| now.saturating_sub(pages));
        kept
    }

    fn change(&self, new: impl Fn(u64) -> u64) {
        if self.pages == 0 {
            return;
        }
        let pool = HostRoot::default()
            .sys("devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages");
        let now = std::fs::read_to_string(&pool).expect("the pool that was kept");
        let now = now.trim().parse().expect("a number of pages");
        std::fs::write(&pool, new(now).to_string()).expect("root may");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.change(|now| now + self.pages);
    }
}

/// What the machine has now.
///
/// # Panics
/// When it cannot be read.
pub fn now() -> Vec<Pool> {
    hugepages::pools(&HostRoot::default()).expect("the machine's pools")
}

impl Held {
    /// Waits until no other test uses pools.
    ///
    /// # Panics
    /// When the caller is not root.
    pub fn hold() -> Self {
        crate::need::root();
        let folder = Utf8Path::new(LOCK).parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("a folder in /var/tmp");
        let lock = File::create(LOCK).expect("a lock in /var/tmp");
        lock.lock().expect("the lock of the pools");
        hugepages::recover(&HostRoot::default(), STATE.into())
            .expect("what killed tests grew shrinks back");
        let kept = Kept::take();
        Self {
            before: now(),
            grown: Vec::new(),
            _kept: kept,
            _lock: lock,
        }
    }

    /// Adds free pages to node 0's pool.
    ///
    /// # Panics
    /// When the machine has too little memory in one piece.
    pub fn add(&mut self, size: PageSize, pages: u64) {
        if let Err(error) = self.try_add(size, pages) {
            panic!(
                "this test needs `{pages}` huge pages of `{size}`: {error}; reserve them at boot, or free memory"
            );
        }
    }

    /// As [`Self::add`], for who can do without.
    ///
    /// # Errors
    /// When the machine has too little memory in one piece.
    pub fn try_add(&mut self, size: PageSize, pages: u64) -> Result<(), GrowError> {
        let growth = Growth {
            node: NodeId(0),
            size,
            pages,
        };
        let grow = || hugepages::grow(&HostRoot::default(), STATE.into(), &[growth]);
        let grown = grow().or_else(|error| match error {
            GrowError::Short { .. } => {
                make_room();
                grow()
            }
            error => Err(error),
        })?;
        self.grown.push(grown);
        Ok(())
    }

    /// What the machine had when this began.
    pub fn before(&self) -> &[Pool] {
        &self.before
    }

    /// Shrinks what was grown, in use or not.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn shrink(&mut self) {
        for grown in self.grown.drain(..) {
            grown.shrink().expect("the pools shrink back");
        }
    }

    /// Shrinks what was grown, and sees that pools and free pages are as before.
    ///
    /// # Panics
    /// When they are not.
    pub fn release(mut self) {
        self.shrink();
        assert_eq!(now(), self.before);
    }

    /// Waits until as many pages of `size` are free on node 0: the kernel takes a moment to free a process's memory.
    ///
    /// # Panics
    /// When that never comes.
    pub fn wait_for_free(&self, size: PageSize, pages: u64) {
        for _ in 0..500 {
            if free(size) == pages {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("`{}` pages of `{size}` are free, not `{pages}`", free(size));
    }
}

/// What is cached lies everywhere, and of it inodes and dentries cannot be moved: the kernel drops it and moves the rest
/// together (`Documentation/admin-guide/sysctl/vm.rst`).
fn make_room() {
    for (file, word) in [("drop_caches", "3"), ("compact_memory", "1")] {
        std::fs::write(format!("/proc/sys/vm/{file}"), word).expect("root may");
    }
}

/// Free pages of `size` on node 0.
///
/// # Panics
/// When the machine has no such pool.
pub fn free(size: PageSize) -> u64 {
    let pools = now();
    let pool = pools
        .iter()
        .find(|pool| (pool.node, pool.size) == (NodeId(0), size));
    pool.unwrap_or_else(|| panic!("this test needs a pool of pages of `{size}`"))
        .free
}

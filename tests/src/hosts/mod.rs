//! Trees that stand for `/` on other machines, made from a few lines each: those under `tests/hosts` that say so, and
//! one too large to keep there.
//!
//! A case holds `tests/hosts` against what this makes; with `HOSTS_UPDATE=1` it writes them.

mod cpus;
mod list;
mod nodes;
mod pci;
mod pod;
mod tree;

pub use list::{a_thousand_cpus, kept, sixteen_nodes};
pub use pci::{Device, Kind};
pub use pod::Pod;
pub use tree::{Entry, Tree};

use camino::Utf8PathBuf;
use numa::{CpuSet, HostRoot};

/// A machine and the pod on it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The tree's name.
    pub name: &'static str,
    /// `GenuineIntel` and the model's name.
    pub cpu: (&'static str, &'static str),
    /// Its cores, numbered as the kernel numbers their first threads.
    pub cores: Cores,
    /// CPUs that are offline, in list form.
    pub offline: &'static str,
    /// Its nodes, by number.
    pub nodes: Vec<Node>,
    /// Node numbers that are possible, in list form.
    pub possible_nodes: &'static str,
    /// A row a node, as `distance` has it.
    pub distances: Vec<String>,
    /// The pod.
    pub pod: Pod,
    /// PCI devices, those above others first.
    pub devices: Vec<Device>,
}

/// How CPUs make cores, caches and packages.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// In all.
    pub count: u32,
    /// CPUs a core.
    pub threads: u32,
    /// Which numbers the threads of one core have.
    pub siblings: Siblings,
    /// Cores that share an L2 cache, where there is such a cluster.
    pub cluster: Option<u32>,
    /// Cores that share an L3 cache.
    pub l3: u32,
    /// Cores a package.
    pub package: u32,
}

/// Which numbers the threads of one core have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Siblings {
    /// `0,64`: all first threads come before all second ones.
    Far,
    /// `0-1`.
    Adjacent,
}

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// Its cores.
    pub cores: std::ops::Range<u32>,
    /// Its memory.
    pub gib: u64,
    /// Pages of 2Mi: in all, free, surplus.
    pub small: [u64; 3],
    /// Pages of 1Gi, likewise; none where the CPU knows no such pages.
    pub large: Option<[u64; 3]>,
}

impl Host {
    /// Every file that stands for the machine and the pod.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        self.write_cpus(&mut tree);
        self.write_nodes(&mut tree);
        self.write_pool_totals(&mut tree);
        self.write_devices(&mut tree);
        self.write_pod(&mut tree);
        tree
    }

    /// The tree in memory, gone with the first part: a large one takes a minute on a disk.
    ///
    /// # Panics
    /// Without a tmpfs at `/dev/shm`.
    pub fn make(&self) -> (tempfile::TempDir, HostRoot) {
        let shm = crate::need::path("/dev/shm");
        let directory = tempfile::tempdir_in(shm).expect("a directory in memory");
        let top = Utf8PathBuf::from_path_buf(directory.path().to_owned());
        let top = top.expect("its path is UTF-8");
        self.tree().write(&top).expect("the tree can be made");
        (directory, HostRoot::new(top))
    }

    /// CPUs online.
    pub fn online(&self) -> CpuSet {
        self.possible().difference(&list(self.offline))
    }

    fn possible(&self) -> CpuSet {
        (0..self.cores.count * self.cores.threads).collect()
    }

    /// Online CPUs of these cores.
    fn cpus_of(&self, cores: std::ops::Range<u32>) -> CpuSet {
        let Cores {
            count,
            threads,
            siblings,
            ..
        } = self.cores;
        let cpus: CpuSet = cores
            .flat_map(|core| {
                (0..threads).map(move |thread| match siblings {
                    Siblings::Far => core + thread * count,
                    Siblings::Adjacent => core * threads + thread,
                })
            })
            .collect();
        cpus.intersection(&self.online())
    }
}

/// # Panics
/// When it is no list.
fn list(text: &str) -> CpuSet {
    text.parse().expect("a CPU list")
}

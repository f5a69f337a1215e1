//! CPUs, cores, nodes and affinity of a Linux host: read, decide, apply, read back.
//!
//! Every reader goes through [`HostRoot`], so that it works on the machine and on a fixture tree alike.

pub mod affinity;
mod allowed;
pub mod cgroup;
mod cpuset;
pub mod file;
mod root;
mod topology;

pub use affinity::{AffinityError, Tid};
pub use allowed::{Allowed, allowed};
pub use cgroup::{Cgroup, ControlFile};
pub use cpuset::{BadCpuList, CpuId, CpuSet, NodeId};
pub use file::FactError;
pub use root::HostRoot;
pub use topology::{Kib, Node, NodeMemory, Topology, pci_node};

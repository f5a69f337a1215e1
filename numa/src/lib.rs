//! CPUs, cores, nodes and affinity of a Linux host: read, decide, apply, read back.
//!
//! Every reader goes through [`HostRoot`], so that it works on the machine and on a fixture tree alike.

mod cpuset;
mod root;

pub use cpuset::{BadCpuList, CpuId, CpuSet, NodeId};
pub use root::HostRoot;

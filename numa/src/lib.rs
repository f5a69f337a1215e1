//! CPUs, cores, nodes and affinity of a Linux host: read, decide, apply, read back.
//!
//! Every reader goes through [`HostRoot`], so that it works on the machine and on a fixture tree alike.
//!
//! ```no_run
//! use numa::{Cgroup, HostRoot, Tid, Topology, affinity, allowed, pci_locality};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = HostRoot::default();
//! let topology = Topology::read(&root)?;
//! let mine = allowed(&root, &Cgroup::read(&root)?)?;
//! // Run where the NIC is, as far as this process may.
//! if let Some(node) = pci_locality(&root, "0000:82:00.0", &topology)?.node() {
//!     let near = topology.nodes[&node].cpus.intersection(&mine.cpus);
//!     affinity::bind(Tid::current(), &near)?;
//! }
//! # Ok(())
//! # }
//! ```

pub mod affinity;
mod allowed;
mod binding;
pub mod cgroup;
mod cpuset;
mod domain;
pub mod file;
mod pci;
mod root;
pub mod scheduler;
mod threads;
mod topology;

pub use affinity::{AffinityError, Tid};
pub use allowed::{Allowed, Disagreement, Resource, allowed, allowed_of};
pub use binding::may_bind;
pub use cgroup::{Cgroup, ControlFile};
pub use cpuset::{BadCpuList, CpuId, CpuSet, NodeId};
pub use file::FactError;
pub use pci::{PciNode, PciNodeSource, pci_locality, pci_node};
pub use root::HostRoot;
pub use scheduler::{Scheduler, SchedulerError};
pub use threads::{Thread, threads};
pub use topology::{Kib, Node, NodeMemory, Topology};

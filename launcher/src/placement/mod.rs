//! Who runs where: threads to CPUs, memory to nodes.

mod cells;
pub mod devices;
mod fill;
#[cfg(test)]
pub(crate) mod fixture;
mod iothreads;
mod memory;
mod misfit;
pub mod moved;
mod pins;
pub mod place;
mod pool;
mod strict;

use serde::{Deserialize, Serialize};

/// What was decided, in the shape that `plan --output json` documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// What was asked for.
    pub policy: Policy,
    /// CPUs of each vCPU, kernel list form.
    pub vcpus: Vec<VcpuPlacement>,
    /// CPUs of QEMU's other threads; none: wherever the pod may run.
    pub emulator: Option<String>,
    /// CPUs of each I/O thread.
    pub iothreads: Vec<IothreadPlacement>,
    /// Guest memory by guest node.
    pub memory: Vec<MemoryPlacement>,
    /// Passed-through devices.
    pub devices: Vec<DevicePlacement>,
    /// What was wanted, what was given, and why.
    pub notes: Vec<String>,
    /// Each vCPU has CPUs of its own: its thread is pinned, and read back before the guest runs.
    pub dedicated: bool,
    /// vCPU threads that run under `SCHED_FIFO`.
    pub realtime: Option<Realtime>,
    /// NUMA nodes that the guest sees; empty: the guest is not told of any.
    pub guest_nodes: Vec<GuestNode>,
    /// How the kernel is told where memory goes.
    pub binding: Binding,
    /// Who fills huge pages, by host node; empty: nothing is filled ahead.
    pub fill: Vec<Fill>,
}

/// How guest memory gets onto its host nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// Memory has no node of its own.
    #[default]
    None,
    /// QEMU binds it (`mbind(2)`, `policy=bind`).
    Bind,
    /// `mbind` is forbidden here: threads of the node touch it first.
    FirstTouch,
}

/// vCPU threads under a real-time scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realtime {
    /// Which vCPUs, kernel list form.
    pub vcpus: String,
    /// `sched_priority` of `SCHED_FIFO`.
    pub priority: u32,
}

/// A NUMA node as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNode {
    /// From 0.
    pub id: u32,
    /// Its vCPUs, kernel list form.
    pub vcpus: String,
    /// To every guest node, itself (10) included, in their order.
    pub distances: Vec<u32>,
}

/// Threads that touch memory of one host node before the guest starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fill {
    /// Whose memory; none: memory without a node.
    pub host_node: Option<u32>,
    /// Where the threads run, kernel list form; as many threads as CPUs.
    pub cpus: String,
}

/// How far locality goes before KubeVirt's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// KubeVirt's order exactly.
    None,
    /// CPUs and memory near the devices as far as they are to be had, and notes on what is not.
    #[default]
    Prefer,
    /// vCPUs, emulator, memory and devices on one node, or the VM is refused.
    Strict,
}

impl Policy {
    /// The default first.
    pub const ALL: [Self; 3] = [Self::Prefer, Self::Strict, Self::None];

    /// As annotation and option have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prefer => "prefer",
            Self::Strict => "strict",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// One vCPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuPlacement {
    /// QEMU's `cpu-index`.
    pub vcpu: u32,
    /// Kernel list form.
    pub cpus: String,
}

/// One I/O thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IothreadPlacement {
    /// From 1.
    pub id: u32,
    /// Kernel list form.
    pub cpus: String,
}

/// Memory of one guest node on one host node. Several with one guest node are one backend that takes its pages from
/// all of their host nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPlacement {
    /// Guest NUMA node.
    pub guest_node: u32,
    /// Host node it is bound to; none: not bound.
    pub host_node: Option<u32>,
    /// Its size.
    pub bytes: u64,
    /// Huge page size; none: ordinary pages.
    pub page_size: Option<String>,
}

/// One passed-through device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePlacement {
    /// The VMI's name for it.
    pub name: String,
    /// Host PCI address.
    pub address: String,
    /// Host node, where known.
    pub host_node: Option<u32>,
    /// Guest node it is seen on.
    pub guest_node: Option<u32>,
}

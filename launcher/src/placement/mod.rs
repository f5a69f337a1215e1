//! Who runs where: threads to CPUs, memory to nodes.

pub mod place;

use serde::{Deserialize, Serialize};

/// What was decided, in the shape that `plan --output json` documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// `none`: no thread is bound to a CPU of its own.
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
}

/// How far locality goes before KubeVirt's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// KubeVirt's order exactly.
    #[default]
    None,
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

/// One guest node's memory.
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

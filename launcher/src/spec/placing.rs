//! What placement was told by annotations of ours.

use crate::placement::Policy;

/// Our prefix: `virt-launcher.kubevirt.io/...`.
pub const PREFIX: &str = "virt-launcher.kubevirt.io/";
/// `none`, `prefer` (the default) or `strict`.
pub const POLICY: &str = "virt-launcher.kubevirt.io/placement-policy";
/// `devices` (the default) or `cpus`.
pub const MEMORY: &str = "virt-launcher.kubevirt.io/memory-near";

/// How near to each other a VM's parts are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placing {
    /// The annotation [`POLICY`], or the command line's `--placement-policy`.
    pub policy: Policy,
    /// The annotation [`MEMORY`].
    pub memory: MemoryNear,
}

/// What memory is near to where the guest sees no nodes and devices and CPUs are on different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryNear {
    /// Passed-through devices: their DMA stays on the node.
    #[default]
    Devices,
    /// The CPUs.
    Cpus,
}

//! vCPUs: topology, model, features.

/// `spec.domain.cpu`, with KubeVirt's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// At least 1.
    pub sockets: u32,
    /// Cores a socket, at least 1.
    pub cores: u32,
    /// Threads a core, at least 1.
    pub threads: u32,
    /// Which CPU the guest sees.
    pub model: CpuModel,
    /// `cpu.features`, in the VMI's order, and what `domain.features` adds as CPU flags (`kvm.hidden`, `hyperv`, ...).
    pub features: Vec<CpuFeature>,
}

impl Cpu {
    /// How many vCPUs the guest has.
    pub fn vcpus(&self) -> u32 {
        self.sockets * self.cores * self.threads
    }
}

/// `cpu.model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CpuModel {
    /// `host-model`, the default.
    HostModel,
    /// `host-passthrough`.
    HostPassthrough,
    /// A model that QEMU names.
    Named(String),
}

/// One flag, as QEMU spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuFeature {
    /// QEMU's property name, such as `avx512f` or `hv-relaxed`.
    pub name: String,
    /// The value QEMU is given: `on`, `off`, or a number or string for properties such as `hv-spinlocks`.
    pub value: String,
    /// `policy: require`, `force` or `forbid` as asked: `Require` means the guest must not start without it.
    pub policy: FeaturePolicy,
}

/// `cpu.features[].policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeaturePolicy {
    /// On whatever the host says.
    Force,
    /// On, and the host must have it (the default).
    Require,
    /// On where the host has it.
    Optional,
    /// Off.
    Disable,
    /// Off, and the host must not have it.
    Forbid,
}

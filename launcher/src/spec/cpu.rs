//! vCPUs: topology, model, features, and what they want of the host's CPUs.

use numa::CpuSet;

/// `spec.domain.cpu`, with KubeVirt's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// At least 1.
    pub sockets: u32,
    /// Cores a socket, at least 1.
    pub cores: u32,
    /// Threads a core, at least 1.
    pub threads: u32,
    /// `maxSockets`: room for vCPU hotplug; never below `sockets`.
    pub max_sockets: u32,
    /// `dedicatedCpuPlacement`: each vCPU has one CPU of the pod's for itself.
    pub dedicated: bool,
    /// `isolateEmulatorThread`: QEMU's other threads have a CPU of their own; only with `dedicated`.
    pub isolate_emulator: bool,
    /// The annotation `alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity`: where vCPUs and supplemental I/O threads
    /// are an even number, the isolated emulator has two CPUs, so that the pod has whole cores.
    pub even_parity: bool,
    /// `numa.guestMappingPassthrough`: the guest sees the nodes that its vCPUs are on; only with `dedicated` and huge
    /// pages.
    pub numa_passthrough: bool,
    /// `realtime`: vCPUs (by index) whose threads run under `SCHED_FIFO`; only with `numa_passthrough`. Not empty.
    pub realtime: Option<CpuSet>,
    /// Which CPU the guest sees.
    pub model: CpuModel,
    /// `cpu.features`, in the VMI's order, and what `domain.features` adds as CPU flags (`kvm.hidden`, `hyperv`, ...).
    pub features: Vec<CpuFeature>,
}

impl Default for Cpu {
    /// KubeVirt's: one vCPU of the host's model that runs wherever the pod may.
    fn default() -> Self {
        Self {
            sockets: 1,
            cores: 1,
            threads: 1,
            max_sockets: 1,
            dedicated: false,
            isolate_emulator: false,
            even_parity: false,
            numa_passthrough: false,
            realtime: None,
            model: CpuModel::HostModel,
            features: Vec::new(),
        }
    }
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

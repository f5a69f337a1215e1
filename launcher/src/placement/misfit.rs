//! [`Misfit`]: why a VM does not fit this host.

use hugepages::{Bite, Bytes, PageSize, Shortfall};
use numa::{CpuSet, NodeId};

use crate::refusal::Violation;

/// One reason. Nodes without a number are those of a kernel without NUMA.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("the pod has no CPU to run on")]
    NoCpu,
    #[error("`{vcpus}` vCPUs are more than `{most}`")]
    ManyVcpus { vcpus: u32, most: u32 },
    #[error("the guest has `{guest}` of memory, the pod may use `{limit}`")]
    MemoryLimit { guest: Bytes, limit: Bytes },
    #[error("{wanted} CPUs are wanted, {what}, and the pod has {has} (`{cpus}`)")]
    Cpus {
        wanted: usize,
        what: String,
        has: usize,
        cpus: CpuSet,
        of: Wants,
    },
    #[error("`{cores}` of the guest's cores find no node with CPUs for all of their threads")]
    Crossing { cores: usize },
    #[error(transparent)]
    Pages(#[from] Shortfall),
    #[error("`{guest}` are `{pages}` pages of `{size}`, fewer than the guest's `{cells}` nodes")]
    PagePerCell {
        guest: Bytes,
        size: PageSize,
        pages: u64,
        cells: usize,
    },
    #[error("memory is wanted on node {}, from which the pod may take none (`cpuset.mems` is `{mems}`)", .node.0)]
    MemsWithout {
        node: NodeId,
        mems: CpuSet,
        asked: &'static str,
    },
    #[error(
        "this process may not use `SCHED_FIFO`: it has neither CAP_SYS_NICE nor a limit on real-time priority"
    )]
    NoRealtime,
    #[error("`mbind` is forbidden here, and the pod has no CPU on node {} that could touch the memory first", .node.0)]
    NoBinding { node: NodeId },
    #[error("placement `strict` is of vCPUs that have CPUs of their own")]
    StrictFloating,
    #[error(
        "placement `strict` wants CPUs that are the pod's own, and the pod may run on every CPU of the host (`{cpus}`)"
    )]
    StrictEveryCpu { cpus: CpuSet },
    #[error(
        "placement `strict` shares no core with others: of the pod's CPUs `{shared}` have siblings that are not the pod's, and without them {rest} are left of the {wanted} that are wanted"
    )]
    StrictShared {
        shared: CpuSet,
        rest: usize,
        wanted: usize,
    },
    #[error(
        "placement `strict` wants {wanted} CPUs, {what}, on one node{where_}: the pod has {has}"
    )]
    StrictOneNode {
        wanted: usize,
        what: String,
        where_: String,
        has: String,
    },
    #[error(
        "placement `strict` wants QEMU's own threads on a node of the vCPUs: CPUs `{cpus}` are on another"
    )]
    StrictElsewhere { cpus: CpuSet },
    #[error("placement `strict` wants vCPUs on node {}, where `{device}` is, and none of them fits there", .node.0)]
    StrictNoCell {
        node: NodeId,
        device: String,
        path: String,
    },
    #[error("placement `strict` wants all devices on one node: `{device}` is on node {}, another on node {}", .node.0, .other.0)]
    StrictDevices {
        node: NodeId,
        other: NodeId,
        device: String,
        path: String,
    },
    #[error("placement `strict` wants to know the node of `{device}`, and the host does not tell")]
    StrictUnknown { device: String, path: String },
    #[error("placement `strict` wants all memory on node {}, which has `{total}`", .node.0)]
    StrictMemory { node: NodeId, total: Bytes },
}

/// Who a CPU is missing for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Vcpus,
    Iothreads,
    Emulator,
}

const CPU: &str = "spec.domain.cpu";
const DEDICATED: &str = "spec.domain.cpu.dedicatedCpuPlacement";
const NUMA: &str = "spec.domain.cpu.numa.guestMappingPassthrough";
const PAGES: &str = "spec.domain.memory.hugepages.pageSize";
const GUEST: &str = "spec.domain.memory.guest";

const NOT_STRICT: &str =
    "use placement policy `prefer`, which takes what there is and says what is missing";

impl Misfit {
    /// The field that asked.
    fn path(&self) -> &str {
        match self {
            Self::NoCpu | Self::ManyVcpus { .. } => CPU,
            Self::MemoryLimit { .. } | Self::StrictMemory { .. } => GUEST,
            Self::Cpus { of, .. } => match of {
                Wants::Vcpus => DEDICATED,
                Wants::Iothreads => "spec.domain.ioThreads.supplementalPoolThreadCount",
                Wants::Emulator => "spec.domain.cpu.isolateEmulatorThread",
            },
            Self::Crossing { .. } | Self::PagePerCell { .. } => NUMA,
            Self::MemsWithout { asked, .. } => asked,
            Self::Pages(_) | Self::NoBinding { .. } => PAGES,
            Self::NoRealtime => "spec.domain.cpu.realtime",
            Self::StrictFloating
            | Self::StrictEveryCpu { .. }
            | Self::StrictShared { .. }
            | Self::StrictOneNode { .. } => DEDICATED,
            Self::StrictElsewhere { .. } => "spec.domain.cpu.isolateEmulatorThread",
            Self::StrictNoCell { path, .. }
            | Self::StrictDevices { path, .. }
            | Self::StrictUnknown { path, .. } => path,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoCpu => "look at the cgroup's `cpuset.cpus.effective`".to_owned(),
            Self::ManyVcpus { .. } => "fewer sockets, cores or threads".to_owned(),
            Self::MemoryLimit { .. } => {
                "raise `spec.domain.resources.limits.memory`, or give the guest less".to_owned()
            }
            Self::Cpus { wanted, .. } => format!(
                "give the pod {wanted} CPUs of its own (`resources.limits.cpu`, the kubelet's `static` CPU manager), or ask for less"
            ),
            Self::Crossing { .. } => {
                "give the pod whole cores (the kubelet's `full-pcpus-only`), or the guest cores of one thread"
                    .to_owned()
            }
            Self::Pages(shortfall) => pages_hint(shortfall),
            Self::PagePerCell { .. } => {
                "give the guest more memory or smaller pages, or the pod CPUs of fewer nodes".to_owned()
            }
            Self::MemsWithout { .. } => {
                "the kubelet's memory manager (`Static`) gives a pod CPUs and memory of the same nodes".to_owned()
            }
            Self::NoRealtime => {
                "give the container CAP_SYS_NICE (`securityContext.capabilities.add`), or leave `realtime` out".to_owned()
            }
            Self::NoBinding { .. } => {
                "give the container CAP_SYS_NICE or a seccomp profile that allows `mbind`, or use placement policy `prefer`"
                    .to_owned()
            }
            Self::StrictFloating => {
                "add `spec.domain.cpu.dedicatedCpuPlacement: true`, or use placement policy `prefer`".to_owned()
            }
            Self::StrictEveryCpu { .. } => {
                "give the pod CPUs of its own (the kubelet's `static` CPU manager), or use placement policy `prefer`"
                    .to_owned()
            }
            Self::StrictShared { .. } => {
                "give the pod whole cores (the kubelet's `full-pcpus-only`), or use placement policy `prefer`".to_owned()
            }
            Self::StrictOneNode { .. }
            | Self::StrictElsewhere { .. }
            | Self::StrictNoCell { .. }
            | Self::StrictDevices { .. } => {
                format!("the kubelet's Topology Manager (`single-numa-node`) gives such pods; or {NOT_STRICT}")
            }
            Self::StrictUnknown { .. } | Self::StrictMemory { .. } => NOT_STRICT.to_owned(),
        }
    }
}

fn pages_hint(shortfall: &Shortfall) -> String {
    let growth: Vec<String> = shortfall
        .missing()
        .iter()
        .map(|growth| format!("node {} by {}", growth.node.0, growth.pages))
        .collect();
    let mut steps = Vec::new();
    if !growth.is_empty() {
        steps.push(format!("enlarge the pool of {}", growth.join(" and of ")));
    }
    if shortfall
        .bites
        .iter()
        .any(|bite| matches!(bite, Bite::Limit(_)))
    {
        steps.push(format!(
            "raise the pod's limit `hugepages-{}`",
            shortfall.size
        ));
    }
    if steps.is_empty() {
        "give the guest less memory".to_owned()
    } else {
        format!("{}, or give the guest less memory", steps.join(" and "))
    }
}

impl From<Misfit> for Violation {
    fn from(misfit: Misfit) -> Self {
        Self::new(misfit.path(), misfit.to_string(), misfit.hint())
    }
}

//! CPUs for one VM alone, and what builds on them: emulator, NUMA, real time (facts 5.1).

use super::realtime::mask;
use crate::quantity::Quantity;
use crate::spec::cpu::Cpu;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{self, Vmi};
use crate::vmi::path::Path;

/// KubeVirt looks only whether it is there.
const EVEN_PARITY: &str = "alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity";

/// No x86 core has more.
const MOST_THREADS: u32 = 2;

const MAKE_DEDICATED: &str = "add `spec.domain.cpu.dedicatedCpuPlacement: true`, or leave this out";

/// The rest of a CPU whose topology is known.
pub(super) fn pinning(vmi: &Vmi, cpu: Cpu, out: &mut Findings) -> Cpu {
    let written = &vmi.spec.domain.cpu;
    let at = Path::of("spec.domain.cpu");
    let dedicated = written.dedicated_cpu_placement == Some(true);
    let isolate_emulator = written.isolate_emulator_thread == Some(true);
    if dedicated {
        whole_cpus(&vmi.spec.domain.resources, out);
        if cpu.threads > MOST_THREADS {
            out.refuse(
                &at.key("threads"),
                format!(
                    "`{}` vCPUs a core do not fit on cores of {MOST_THREADS} threads",
                    cpu.threads
                ),
                "with `dedicatedCpuPlacement` give 1 or 2, and more `cores` or `sockets`",
            );
        }
    } else if isolate_emulator {
        out.refuse(
            &at.key("isolateEmulatorThread"),
            "the emulator can have a CPU for itself only where vCPUs have theirs",
            MAKE_DEDICATED,
        );
    }
    Cpu {
        dedicated,
        isolate_emulator,
        even_parity: vmi.metadata.annotations.contains_key(EVEN_PARITY),
        numa_passthrough: numa_passthrough(vmi, dedicated, out),
        realtime: realtime(vmi, cpu.vcpus(), out),
        ..cpu
    }
}

fn numa_passthrough(vmi: &Vmi, dedicated: bool, out: &mut Findings) -> bool {
    let domain = &vmi.spec.domain;
    let asked = domain.cpu.numa.guest_mapping_passthrough.is_some();
    let at = Path::of("spec.domain.cpu.numa.guestMappingPassthrough");
    if asked && !dedicated {
        out.refuse(
            &at,
            "vCPUs that run anywhere are on no node that the guest could be shown",
            MAKE_DEDICATED,
        );
    }
    if asked && domain.memory.hugepages.is_none() {
        out.refuse(
            &at,
            "the guest's nodes are made of huge pages",
            "add `spec.domain.memory.hugepages.pageSize`, or leave this out",
        );
    }
    asked
}

fn realtime(vmi: &Vmi, vcpus: u32, out: &mut Findings) -> Option<numa::CpuSet> {
    let cpu = &vmi.spec.domain.cpu;
    let asked = cpu.realtime.as_ref()?;
    let at = Path::of("spec.domain.cpu.realtime");
    if cpu.dedicated_cpu_placement != Some(true) {
        out.refuse(
            &at,
            "a real-time vCPU would keep others from its CPU",
            MAKE_DEDICATED,
        );
    }
    if cpu.numa.guest_mapping_passthrough.is_none() {
        out.refuse(
            &at,
            "a real-time vCPU needs its memory on its own node",
            "add `spec.domain.cpu.numa.guestMappingPassthrough: {}`, or leave this out",
        );
    }
    Some(mask(asked.mask.as_deref(), vcpus, &at.key("mask"), out))
}

/// The kubelet gives whole CPUs to pods whose requests are their limits, and only whole ones to one pod alone.
fn whole_cpus(resources: &mirror::Resources, out: &mut Findings) {
    let at = Path::of("spec.domain.resources");
    let mut amount = |list: &'static str, quantity: &Option<Quantity>| {
        let quantity = quantity.as_ref()?;
        let milli = quantity.milli_value().ok()?;
        if !milli.is_multiple_of(1000) {
            out.refuse(
                &at.key(list).key("cpu"),
                format!("`{quantity}` is not a whole number of CPUs"),
                "with `dedicatedCpuPlacement` give whole ones",
            );
        }
        Some(milli)
    };
    let requested = amount("requests", &resources.requests.cpu);
    let limited = amount("limits", &resources.limits.cpu);
    // A request above its limit has been refused already.
    if let (Some(requested), Some(limited)) = (requested, limited)
        && requested < limited
    {
        out.refuse(
            &at.key("requests").key("cpu"),
            "it is less than the limit, and the kubelet gives CPUs to one pod alone only where both are the same",
            "with `dedicatedCpuPlacement` give both the same value, or one of them",
        );
    }
}

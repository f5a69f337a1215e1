//! [`place`]: from what is asked and what is here to who runs where.

use crate::host::HostFacts;
use crate::placement::{MemoryPlacement, Placement, Policy, VcpuPlacement};
use crate::refusal::Violation;
use crate::spec::Spec;

/// Above this, APIC ids need an emulated IOMMU, which no VMI asks for.
const MOST_VCPUS: u32 = 255;

/// Places a VM whose threads may run wherever the pod may.
pub fn place(spec: &Spec, facts: &HostFacts) -> Result<Placement, Vec<Violation>> {
    let violations = misfits(spec, facts);
    if !violations.is_empty() {
        return Err(violations);
    }
    let cpus = facts.cpus.to_string();
    Ok(Placement {
        policy: Policy::None,
        vcpus: (0..spec.cpu.vcpus())
            .map(|vcpu| VcpuPlacement {
                vcpu,
                cpus: cpus.clone(),
            })
            .collect(),
        emulator: None,
        iothreads: Vec::new(),
        memory: vec![MemoryPlacement {
            guest_node: 0,
            host_node: None,
            bytes: spec.memory.guest.0,
            page_size: None,
        }],
        devices: Vec::new(),
        notes: notes(spec, facts),
        ..Placement::default()
    })
}

fn misfits(spec: &Spec, facts: &HostFacts) -> Vec<Violation> {
    let mut violations = Vec::new();
    if facts.cpus.is_empty() {
        violations.push(Violation::new(
            "spec.domain.cpu",
            "the pod has no CPU to run on",
            "look at the cgroup's `cpuset.cpus.effective`",
        ));
    }
    let vcpus = spec.cpu.vcpus();
    if vcpus > MOST_VCPUS {
        violations.push(Violation::new(
            "spec.domain.cpu",
            format!("`{vcpus}` vCPUs are more than `{MOST_VCPUS}`"),
            "fewer sockets, cores or threads",
        ));
    }
    if let Some(limit) = facts.memory_limit
        && spec.memory.guest > limit
    {
        violations.push(Violation::new(
            "spec.domain.memory.guest",
            format!(
                "the guest has `{}` of memory, the pod may use `{limit}`",
                spec.memory.guest
            ),
            "raise `spec.domain.resources.limits.memory`, or give the guest less",
        ));
    }
    violations
}

fn notes(spec: &Spec, facts: &HostFacts) -> Vec<String> {
    let vcpus = usize::try_from(spec.cpu.vcpus()).unwrap_or(usize::MAX);
    let cpus = facts.cpus.len();
    if vcpus > cpus {
        vec![format!("{vcpus} vCPUs share {cpus} CPUs")]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use hugepages::Bytes;

    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn every_vcpu_may_run_wherever_the_pod_may() {
        let mut spec = fixtures::spec();
        spec.cpu.cores = 3;
        let placement = place(&spec, &fixtures::facts()).unwrap();
        assert_eq!(placement.vcpus.len(), 3);
        assert!(placement.vcpus.iter().all(|vcpu| vcpu.cpus == "0-3"));
        assert_eq!(placement.emulator, None);
        assert_eq!(placement.memory[0].host_node, None);
        assert!(placement.notes.is_empty());
    }

    #[test]
    fn a_shortage_of_cpus_is_only_noted() {
        let mut spec = fixtures::spec();
        spec.cpu.sockets = 8;
        let placement = place(&spec, &fixtures::facts()).unwrap();
        assert_eq!(placement.notes, ["8 vCPUs share 4 CPUs"]);
    }

    #[test]
    fn every_misfit_is_told_at_once() {
        let mut spec = fixtures::spec();
        spec.cpu.sockets = 256;
        spec.memory.guest = Bytes::GIB;
        let mut facts = fixtures::facts();
        facts.memory_limit = Bytes::mib(512);
        facts.cpus = numa::CpuSet::new();
        let paths: Vec<_> = place(&spec, &facts)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.path)
            .collect();
        assert_eq!(
            paths,
            [
                "spec.domain.cpu",
                "spec.domain.cpu",
                "spec.domain.memory.guest"
            ]
        );
    }

    #[test]
    fn the_limit_itself_still_fits() {
        let mut facts = fixtures::facts();
        facts.memory_limit = Some(fixtures::spec().memory.guest);
        assert!(place(&fixtures::spec(), &facts).is_ok());
    }
}

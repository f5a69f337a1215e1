//! I/O threads' CPUs.

use numa::CpuSet;

use super::pins::Pins;
use crate::host::HostFacts;
use crate::placement::IothreadPlacement;
use crate::spec::Spec;

/// Each I/O thread's CPUs.
///
/// - The supplemental pool has CPUs of its own.
/// - With an isolated emulator all are on its CPUs (KubeVirt pins the first alone).
/// - Else they share the vCPUs' CPUs, each thread its part of them (KubeVirt takes the pod's first ones, which may be
///   nobody's).
pub(super) fn iothreads(
    spec: &Spec,
    facts: &HostFacts,
    pins: Option<&Pins>,
) -> Vec<IothreadPlacement> {
    let count = usize::try_from(spec.iothreads.count).unwrap_or(usize::MAX);
    let sets: Vec<CpuSet> = match pins {
        None => vec![facts.cpus.clone(); count],
        Some(pins) if spec.iothreads.supplemental => pins
            .supplemental
            .iter()
            .map(|cpu| CpuSet::from_iter([*cpu]))
            .collect(),
        Some(pins) if !pins.emulator.is_empty() => {
            vec![pins.emulator.iter().copied().collect(); count]
        }
        Some(pins) => shared(count, &pins.vcpus.iter().copied().collect()),
    };
    (1..)
        .zip(sets)
        .map(|(id, cpus)| IothreadPlacement {
            id,
            cpus: cpus.to_string(),
        })
        .collect()
}

/// KubeVirt's shares: one CPU each, in turn from the second on, where there are as many threads as CPUs; else slices
/// of the CPUs, the first ones longer by one.
fn shared(threads: usize, cpus: &CpuSet) -> Vec<CpuSet> {
    let cpus: Vec<u32> = cpus.iter().collect();
    if cpus.is_empty() || threads == 0 {
        return Vec::new();
    }
    if threads >= cpus.len() {
        return (1..=threads)
            .map(|thread| CpuSet::from_iter([cpus[thread % cpus.len()]]))
            .collect();
    }
    let (length, longer) = (cpus.len() / threads, cpus.len() % threads);
    let mut rest = cpus.as_slice();
    (0..threads)
        .map(|thread| {
            let (slice, after) = rest.split_at(length + usize::from(thread < longer));
            rest = after;
            slice.iter().copied().collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(threads: usize, cpus: &str) -> Vec<String> {
        shared(threads, &cpus.parse().unwrap())
            .iter()
            .map(CpuSet::to_string)
            .collect()
    }

    #[test]
    fn slices_are_balanced() {
        assert_eq!(lists(3, "0-7"), ["0-2", "3-5", "6-7"]);
        assert_eq!(lists(1, "2,6"), ["2,6"]);
    }

    #[test]
    fn as_many_threads_as_cpus_have_one_each() {
        assert_eq!(lists(3, "4-6"), ["5", "6", "4"]);
        assert_eq!(lists(4, "4-5"), ["5", "4", "5", "4"]);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert!(lists(0, "1").is_empty() && lists(2, "").is_empty());
    }
}

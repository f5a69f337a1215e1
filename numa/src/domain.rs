//! Sets of CPUs that share something: threads of a core, clusters, caches, dies, packages.

use std::collections::BTreeMap;

use crate::allowed::LIST;
use crate::cpuset::CpuSet;
use crate::file::{self, FactError};
use crate::root::HostRoot;

/// Files in `cpuN/topology` with the same list, the older name last.
pub(crate) type Files = &'static [&'static str];

const CORE: Files = &["core_cpus_list", "thread_siblings_list"];
pub(crate) const CLUSTER: Files = &["cluster_cpus_list"];
pub(crate) const DIE: Files = &["die_cpus_list"];
pub(crate) const PACKAGE: Files = &["package_cpus_list", "core_siblings_list"];

/// The cores of `cpus`; a CPU of which nothing is told is a core by itself.
pub(crate) fn cores(root: &HostRoot, cpus: &CpuSet) -> Result<Vec<CpuSet>, FactError> {
    partition(cpus, |cpu| {
        let threads = shared(root, cpu, CORE)?;
        Ok(Some(threads.unwrap_or_default()))
    })
}

/// As `files` partition `cpus`; those of which nothing is told are in no set. A kernel that does not tell of the first
/// tells of none.
pub(crate) fn domains(
    root: &HostRoot,
    cpus: &CpuSet,
    files: Files,
) -> Result<Vec<CpuSet>, FactError> {
    let Some(first) = cpus.first() else {
        return Ok(Vec::new());
    };
    if shared(root, first, files)?.is_none() {
        return Ok(Vec::new());
    }
    partition(cpus, |cpu| shared(root, cpu, files))
}

/// As the caches of `level` partition `cpus`; those that have none are in no set.
pub(crate) fn caches(root: &HostRoot, cpus: &CpuSet, level: u32) -> Result<Vec<CpuSet>, FactError> {
    partition(cpus, |cpu| {
        let directory = root.sys(&format!("devices/system/cpu/cpu{cpu}/cache"));
        // Two caches of one level hold data and instructions: only L1 has them.
        for index in file::names(&directory)? {
            let cache = directory.join(index);
            if file::value(&cache.join("level"), "a cache's level")? == Some(level) {
                return file::value(&cache.join("shared_cpu_list"), LIST);
            }
        }
        Ok(None)
    })
}

fn shared(root: &HostRoot, cpu: u32, files: Files) -> Result<Option<CpuSet>, FactError> {
    let topology = root.sys(&format!("devices/system/cpu/cpu{cpu}/topology"));
    for name in files {
        if let Some(set) = file::value(&topology.join(name), LIST)? {
            return Ok(Some(set));
        }
    }
    Ok(None)
}

/// Asks for the set of each CPU that is in none yet, so that a file is read once a set and not once a CPU.
fn partition(
    cpus: &CpuSet,
    set_of: impl Fn(u32) -> Result<Option<CpuSet>, FactError>,
) -> Result<Vec<CpuSet>, FactError> {
    let mut left = cpus.clone();
    let mut sets = BTreeMap::new();
    while let Some(cpu) = left.first() {
        left.remove(cpu);
        if let Some(told) = set_of(cpu)? {
            // Offline ones do not count, and one that is in a set already stays there.
            let others = told.iter().filter(|other| left.remove(*other));
            sets.insert(cpu, others.chain([cpu]).collect());
        }
    }
    Ok(sets.into_values().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists(cpus: &str, told: impl Fn(u32) -> Option<&'static str>) -> Vec<String> {
        let sets = partition(&cpus.parse().unwrap(), |cpu| {
            Ok(told(cpu).map(|text| text.parse().unwrap()))
        });
        sets.unwrap().iter().map(CpuSet::to_string).collect()
    }

    #[test]
    fn offline_threads_do_not_count() {
        let told = |cpu| Some(if cpu % 4 == 0 { "0,4" } else { "1,5" });
        assert_eq!(lists("0-1,4", told), ["0,4", "1"]);
    }

    #[test]
    fn cpus_of_which_nothing_is_told_are_in_no_set() {
        assert_eq!(lists("0-3", |cpu| (cpu < 2).then_some("0-1")), ["0-1"]);
    }

    proptest! {
        #[test]
        fn whatever_is_told_the_sets_are_apart(told in proptest::collection::vec(
            proptest::collection::btree_set(0_u32..24, 0..6), 24
        )) {
            let cpus: CpuSet = (0..20).collect();
            let sets = partition(&cpus, |cpu| {
                Ok(Some(told[cpu as usize].iter().copied().collect()))
            }).unwrap();
            let members: Vec<u32> = sets.iter().flat_map(CpuSet::iter).collect();
            prop_assert_eq!(members.len(), 20);
            prop_assert_eq!(members.into_iter().collect::<CpuSet>(), cpus);
        }
    }
}

//! Who else is held to the CPUs of dedicated vCPUs, or to their cores.
//!
//! The kernel lets most threads run nearly everywhere, which says nothing; one that may run only there was put there.
//! What is in other PID namespaces is seen from outside a pod alone.

use numa::file::{self, USUAL_LIMIT};
use numa::{CpuId, CpuSet, FactError, HostRoot, Tid, Topology};
use serde::Serialize;

use crate::placement::Placement;

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// Its process.
    pub pid: i32,
    /// Its number.
    pub tid: Tid,
    /// Its name.
    pub name: String,
    /// Where it may run.
    pub cpus: CpuSet,
}

/// CPUs of the vCPUs and of their cores' other threads; empty where none is dedicated.
pub fn guarded(placement: &Placement, topology: &Topology) -> CpuSet {
    if !placement.dedicated {
        return CpuSet::new();
    }
    let lists = placement.vcpus.iter().map(|vcpu| vcpu.cpus.parse());
    let own = lists
        .filter_map(Result::ok)
        .fold(CpuSet::new(), |all, cpus| all.union(&cpus));
    own.iter()
        .filter_map(|cpu| topology.siblings(CpuId(cpu)))
        .fold(own.clone(), |all, core| all.union(core))
}

/// The threads that may run on nothing but `guarded`. `qemu` is the process whose CPUs they are.
pub fn strangers(
    root: &HostRoot,
    guarded: &CpuSet,
    qemu: impl Fn(i32) -> bool,
) -> Result<Vec<Stranger>, FactError> {
    let mut strangers = Vec::new();
    if guarded.is_empty() {
        return Ok(strangers);
    }
    for name in file::names(&root.proc(""))? {
        let Ok(pid) = name.parse::<i32>() else {
            continue;
        };
        // The kernel's own threads (children of kthreadd) are bound by the kernel, one a CPU.
        if is_kernel_thread(root, pid) || qemu(pid) {
            continue;
        }
        for thread in numa::threads(root, pid)? {
            let status = root.proc(&format!("{pid}/task/{}/status", thread.tid.0));
            // A thread that ended meanwhile is no stranger.
            let Ok(Some(text)) = file::read(&status, USUAL_LIMIT) else {
                continue;
            };
            let cpus = allowed(&text).unwrap_or_default();
            if !cpus.is_empty() && cpus.is_subset(guarded) {
                strangers.push(Stranger {
                    pid,
                    tid: thread.tid,
                    name: thread.name,
                    cpus,
                });
            }
        }
    }
    Ok(strangers)
}

fn allowed(status: &str) -> Option<CpuSet> {
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.parse().ok()
}

fn is_kernel_thread(root: &HostRoot, pid: i32) -> bool {
    let text = file::read(&root.proc(&format!("{pid}/status")), USUAL_LIMIT);
    let text = text.ok().flatten().unwrap_or_default();
    // Only a process with memory of its own has these lines (`proc_pid_status(5)`).
    !text.lines().any(|line| line.starts_with("VmSize:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn cores_are_guarded_whole() {
        let topology = Topology {
            cores: ["0,4", "1,5", "2,6", "3,7"]
                .map(|list| list.parse().unwrap())
                .to_vec(),
            ..Topology::default()
        };
        let mut placement = fixtures::two_cells();
        assert_eq!(guarded(&placement, &topology).to_string(), "1-2,5-6");
        placement.vcpus.truncate(1);
        assert_eq!(guarded(&placement, &topology).to_string(), "1,5");
        placement.dedicated = false;
        assert!(guarded(&placement, &topology).is_empty());
    }

    #[test]
    fn who_is_held_there_is_found_and_who_may_go_elsewhere_is_not() {
        let root = HostRoot::default();
        let me = Tid::current();
        let before = numa::affinity::get(me).unwrap();
        let one: CpuSet = before.iter().take(1).collect();
        let found = |guarded: &CpuSet| {
            let strangers = strangers(&root, guarded, |_| false).unwrap();
            strangers.iter().any(|stranger| stranger.tid == me)
        };
        numa::affinity::bind(me, &one).unwrap();
        assert!(found(&one));
        let own = std::process::id().cast_signed();
        let others = strangers(&root, &one, |pid| pid == own).unwrap();
        assert!(others.iter().all(|stranger| stranger.tid != me));
        numa::affinity::bind(me, &before).unwrap();
        if before.len() > 1 {
            assert!(!found(&one));
        }
    }
}

//! Which thread is what, where it should run, and whether it does.

use std::collections::BTreeMap;
use std::fmt;

use numa::{CpuSet, Scheduler, Tid};
use serde::{Serialize, Serializer};

use crate::placement::Placement;

/// What a thread of QEMU's is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs the guest's instructions.
    Vcpu(u32),
    /// Serves disks.
    Iothread(u32),
    /// Filled memory before the guest ran, and lives on.
    Fill(u32),
    /// A worker of the kernel's that moves a NIC's packets (a thread of QEMU's since Linux 6.4).
    Vhost,
    /// Anything else: the main loop, the monitor, workers.
    Emulator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpu(index) => write!(f, "vcpu {index}"),
            Self::Iothread(id) => write!(f, "iothread {id}"),
            Self::Fill(index) => write!(f, "fill {index}"),
            Self::Vhost => f.write_str("vhost"),
            Self::Emulator => f.write_str("emulator"),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thread as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its number.
    pub tid: Tid,
    /// Its name. QEMU chooses it, but for the kernel's own.
    pub name: String,
    /// Where it may run.
    pub cpus: CpuSet,
    /// How it is scheduled.
    pub scheduler: Scheduler,
}

/// One thread against the placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadCheck {
    /// What it is there for.
    pub role: Role,
    /// Its number in the pod.
    pub tid: Tid,
    /// Its name, for people.
    pub name: String,
    /// Where it should run; none: wherever the pod may.
    pub wanted: Option<CpuSet>,
    /// Where it may run.
    pub actual: CpuSet,
    /// The real-time priority that it should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_priority: Option<u32>,
    /// How it is scheduled.
    pub scheduler: Scheduler,
    /// Whether all is as it should be.
    pub ok: bool,
}

/// Where a thread of that role should run; none where the placement leaves it to the kernel.
pub fn wanted(placement: &Placement, role: Role) -> Option<CpuSet> {
    let emulator = || placement.emulator.as_deref();
    let list = match role {
        // Without CPUs of their own they may run wherever the pod may, also when that changes.
        Role::Vcpu(_) | Role::Iothread(_) if !placement.dedicated => None,
        Role::Vcpu(index) => {
            let vcpu = placement.vcpus.iter().find(|vcpu| vcpu.vcpu == index);
            vcpu.map(|vcpu| vcpu.cpus.as_str())
        }
        Role::Iothread(id) => {
            let thread = placement.iothreads.iter().find(|thread| thread.id == id);
            thread.map(|thread| thread.cpus.as_str()).or_else(emulator)
        }
        Role::Fill(_) | Role::Vhost | Role::Emulator => emulator(),
    };
    list.and_then(|list| list.parse().ok())
}

/// The real-time priority that a thread of that role should have.
pub fn wanted_priority(placement: &Placement, role: Role) -> Option<u32> {
    let realtime = placement.realtime.as_ref()?;
    let Role::Vcpu(index) = role else {
        return None;
    };
    let mask: CpuSet = realtime.vcpus.parse().ok()?;
    mask.contains(index).then_some(realtime.priority)
}

/// The kernel names its own workers after the process they work for (`vhost_worker_create`).
const VHOST: &str = "vhost-";

/// Each thread's role: by number where QEMU told it, else by what the kernel calls its own.
pub fn roles<'a>(
    known: &'a BTreeMap<Tid, Role>,
    threads: &'a [Observed],
) -> impl Iterator<Item = (Role, &'a Observed)> {
    threads.iter().map(|thread| {
        let role = match known.get(&thread.tid) {
            Some(role) => *role,
            None if thread.name.starts_with(VHOST) => Role::Vhost,
            None => Role::Emulator,
        };
        (role, thread)
    })
}

/// Every thread against the placement, by role. A thread that QEMU named and that is not there is not running at all.
pub fn check(
    placement: &Placement,
    known: &BTreeMap<Tid, Role>,
    threads: &[Observed],
) -> Vec<ThreadCheck> {
    let mut checks: Vec<_> = roles(known, threads)
        .map(|(role, thread)| {
            let wanted = wanted(placement, role);
            let wanted_priority = wanted_priority(placement, role);
            let placed = wanted.as_ref().is_none_or(|wanted| *wanted == thread.cpus);
            let scheduled = wanted_priority
                .is_none_or(|priority| thread.scheduler == Scheduler::Fifo(priority));
            ThreadCheck {
                role,
                tid: thread.tid,
                name: thread.name.clone(),
                wanted,
                actual: thread.cpus.clone(),
                wanted_priority,
                scheduler: thread.scheduler,
                ok: placed && scheduled,
            }
        })
        .collect();
    checks.sort_by_key(|check| (check.role, check.tid));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn observed(tid: i32, name: &str, cpus: &str, scheduler: Scheduler) -> Observed {
        Observed {
            tid: Tid(tid),
            name: name.to_owned(),
            cpus: cpus.parse().unwrap(),
            scheduler,
        }
    }

    fn known() -> BTreeMap<Tid, Role> {
        BTreeMap::from([
            (Tid(12), Role::Vcpu(0)),
            (Tid(13), Role::Vcpu(1)),
            (Tid(14), Role::Iothread(1)),
            (Tid(15), Role::Fill(0)),
        ])
    }

    #[test]
    fn each_thread_is_held_against_its_part_of_the_placement() {
        let threads = [
            observed(10, "qemu-system-x86", "0,4", Scheduler::Fair),
            observed(12, "CPU 0/KVM", "1", Scheduler::Fifo(1)),
            observed(13, "CPU 1/KVM", "2", Scheduler::Fair),
            observed(14, "IO io1", "0-7", Scheduler::Fair),
            observed(15, "TC fill0", "0,4", Scheduler::Fair),
            // What QEMU calls a thread decides nothing.
            observed(16, "CPU 3/KVM", "0,4", Scheduler::Fair),
            observed(17, "vhost-10", "0", Scheduler::Fair),
        ];
        let checks = check(&fixtures::two_cells(), &known(), &threads);
        let told: Vec<_> = checks
            .iter()
            .map(|check| format!("{} {} {}", check.role, check.tid.0, check.ok))
            .collect();
        assert_eq!(
            told,
            [
                "vcpu 0 12 true",
                // Not under SCHED_FIFO.
                "vcpu 1 13 false",
                "iothread 1 14 false",
                "fill 0 15 true",
                "vhost 17 false",
                "emulator 10 true",
                "emulator 16 true",
            ]
        );
    }

    #[test]
    fn without_dedicated_cpus_nothing_is_wanted() {
        let mut placement = fixtures::two_cells();
        placement.dedicated = false;
        placement.emulator = None;
        assert_eq!(wanted(&placement, Role::Vcpu(0)), None);
        assert_eq!(wanted(&placement, Role::Emulator), None);
        assert_eq!(wanted(&placement, Role::Iothread(1)), None);
        let placement = fixtures::two_cells();
        assert!(wanted(&placement, Role::Iothread(1)).is_some());
    }

    #[test]
    fn the_mask_chooses_who_is_in_real_time() {
        let mut placement = fixtures::two_cells();
        placement.realtime.as_mut().unwrap().vcpus = "1-2".to_owned();
        let priorities = [0, 1, 3].map(|index| wanted_priority(&placement, Role::Vcpu(index)));
        assert_eq!(priorities, [None, Some(1), None]);
        assert_eq!(wanted_priority(&placement, Role::Emulator), None);
    }
}

//! [`moved`]: what is left of a placement when the pod's CPUs change under a running guest.

use numa::CpuSet;

use crate::placement::Placement;

/// The same placement on the CPUs that the pod has now, and what had to change.
///
/// Who still has CPUs stays on them. Who lost all of them, vCPU, I/O thread or emulator, gets the lowest CPU that nobody
/// has, or, where there is none, runs wherever the pod may. Where memory is does not change: huge pages stay where they
/// were taken.
pub fn moved(placement: &Placement, allowed: &CpuSet) -> (Placement, Vec<String>) {
    let mut new = placement.clone();
    let mut changes = Vec::new();
    if !placement.dedicated {
        // Nobody was bound, and the kernel has followed by itself.
        return (new, changes);
    }
    let mut free = allowed.difference(&kept(placement, allowed));
    let before = placement.emulator.clone();
    if let Some(cpus) = &mut new.emulator {
        settle("emulator", cpus, allowed, &mut free, &mut changes);
    }
    for thread in &mut new.iothreads {
        if Some(&thread.cpus) == before.as_ref() {
            // They share the emulator's, and go with it.
            if let Some(cpus) = &new.emulator {
                thread.cpus.clone_from(cpus);
            }
        } else {
            let who = format!("iothread {}", thread.id);
            settle(&who, &mut thread.cpus, allowed, &mut free, &mut changes);
        }
    }
    for vcpu in &mut new.vcpus {
        let who = format!("vcpu {}", vcpu.vcpu);
        settle(&who, &mut vcpu.cpus, allowed, &mut free, &mut changes);
    }
    (new, changes)
}

/// CPUs that stay with those who had them.
fn kept(placement: &Placement, allowed: &CpuSet) -> CpuSet {
    let vcpus = placement.vcpus.iter().map(|vcpu| &vcpu.cpus);
    let lists = vcpus
        .chain(placement.iothreads.iter().map(|thread| &thread.cpus))
        .chain(&placement.emulator);
    lists
        .fold(CpuSet::new(), |kept, list| kept.union(&read(list)))
        .intersection(allowed)
}

fn settle(
    who: &str,
    cpus: &mut String,
    allowed: &CpuSet,
    free: &mut CpuSet,
    changes: &mut Vec<String>,
) {
    let had = read(cpus);
    let left = had.intersection(allowed);
    if left == had {
        return;
    }
    let first = free.iter().next();
    let now = if !left.is_empty() {
        left
    } else if let Some(cpu) = first {
        free.remove(cpu);
        CpuSet::from_iter([cpu])
    } else {
        allowed.clone()
    };
    let shared = if first.is_none() && now == *allowed {
        ", with everybody else: the pod has no other CPU to give"
    } else {
        ""
    };
    changes.push(format!("{who} moves from `{had}` to `{now}`{shared}"));
    *cpus = now.to_string();
}

fn read(list: &str) -> CpuSet {
    list.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn told(allowed: &str) -> String {
        let (_, changes) = moved(&fixtures::two_cells(), &allowed.parse().unwrap());
        changes.join("\n")
    }

    #[test]
    fn who_still_has_its_cpus_stays() {
        let placement = fixtures::two_cells();
        let all = "0-7".parse().unwrap();
        assert_eq!(moved(&placement, &all), (placement, Vec::new()));
    }

    #[test]
    fn who_lost_them_gets_free_ones_and_the_emulator_makes_do() {
        insta::assert_snapshot!(told("0-5"), @"vcpu 3 moves from `6` to `3`");
        insta::assert_snapshot!(told("1-3,5-7"), @"emulator moves from `0,4` to `3`");
        insta::assert_snapshot!(told("0-3,5-6"), @"emulator moves from `0,4` to `0`");
    }

    #[test]
    fn io_threads_go_with_the_emulator_they_share() {
        let (new, _) = moved(&fixtures::two_cells(), &"1-3,5-7".parse().unwrap());
        assert_eq!(new.iothreads[0].cpus, "3");
    }

    #[test]
    fn without_a_free_cpu_all_are_shared() {
        insta::assert_snapshot!(told("0,1,4,5"), @r"
        vcpu 1 moves from `2` to `0-1,4-5`, with everybody else: the pod has no other CPU to give
        vcpu 3 moves from `6` to `0-1,4-5`, with everybody else: the pod has no other CPU to give
        ");
    }
}

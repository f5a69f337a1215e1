//! Threads are put where the placement says, and what the kernel made of it is read back.

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::getppid;
use numa::{AffinityError, CpuSet, FactError, HostRoot, SchedulerError, Tid, affinity, scheduler};
use qmp::Session;

use crate::machine::memory;
use crate::placement::{Placement, Policy};
use crate::plan::{LaunchPlan, Open};
use crate::privileges;
use crate::verify::memory::has_ordinary;
use crate::verify::observe::observed;
use crate::verify::threads::{roles, wanted, wanted_priority};
use crate::verify::{Identity, Report, Role, VerifyError, observe};

/// A VM that is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// QEMU or the kernel did not say.
    #[error("where QEMU's threads are cannot be told")]
    Verify(#[from] VerifyError),
    /// A file of the kernel's.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// Nothing here may schedule threads in real time.
    #[error(
        "`spec.domain.cpu.realtime` needs SCHED_FIFO at priority `{priority}`, which takes CAP_SYS_NICE or an RLIMIT_RTPRIO as high, and this pod has neither"
    )]
    NoRealtime {
        /// What is wanted.
        priority: u32,
    },
    /// The kernel refused real time.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// Under `strict` something is elsewhere.
    #[error("the placement policy is `strict`, and {}", .0.join("; "))]
    Misplaced(Vec<String>),
}

/// Whether the placement says anything that is to be carried out.
pub fn is_placed(placement: &Placement) -> bool {
    placement.dedicated
        || placement.emulator.is_some()
        || memory::is_huge(placement)
        || has_ordinary(placement)
}

/// Whether real time can be had, where it is asked for. Before anything is started.
pub fn check_realtime(placement: &Placement) -> Result<(), PlaceError> {
    let Some(realtime) = &placement.realtime else {
        return Ok(());
    };
    let priority = realtime.priority;
    // QEMU inherits the limit, and it is the thread's own that counts (sched(7)).
    let limit = getrlimit(Resource::RLIMIT_RTPRIO).map_or(0, |(soft, _)| soft);
    if privileges::may_set_scheduler() || limit >= u64::from(priority) {
        Ok(())
    } else {
        Err(PlaceError::NoRealtime { priority })
    }
}

/// With an isolated emulator this process and PID 1 move to its CPUs, and what they start follows: the CPUs of vCPUs
/// are theirs alone.
pub fn make_way(placement: &Placement) -> Result<(), PlaceError> {
    let Some(cpus) = wanted(placement, Role::Emulator) else {
        return Ok(());
    };
    let own = std::process::id().cast_signed();
    let threads = numa::threads(&HostRoot::default(), own)?;
    let ours = threads.iter().map(|thread| ("the supervisor", thread.tid));
    let misplaced: Vec<_> = ours
        .chain([("PID 1", Tid(getppid().as_raw()))])
        .filter_map(|(whose, tid)| Some(format!("{whose}: {}", moved(tid, &cpus)?)))
        .collect();
    settle(placement, misplaced)
}

/// Moves a thread; what went wrong, if anything did. One that ended meanwhile is nowhere wrong.
fn moved(tid: Tid, cpus: &CpuSet) -> Option<AffinityError> {
    match affinity::bind(tid, cpus) {
        Ok(()) | Err(AffinityError::NoThread(_)) => None,
        Err(error) => Some(error),
    }
}

/// Puts every thread of QEMU's where it belongs and vCPUs under their scheduler. Needs the privileges that fall before
/// the guest runs.
pub async fn place(
    session: &Session,
    pid: i32,
    placement: &Placement,
) -> Result<Identity, PlaceError> {
    let identity = Identity::ask(session, placement).await?;
    for failure in bind(pid, &identity, placement)? {
        // Told here for its cause; whether the guest may run is decided by what is read back.
        tracing::debug!(event = "not-bound", "{failure}");
    }
    let threads = identity.roles.iter();
    for (tid, priority) in
        threads.filter_map(|(tid, role)| Some((*tid, wanted_priority(placement, *role)?)))
    {
        scheduler::set_fifo(tid, priority)?;
    }
    Ok(identity)
}

/// Binds every thread that is elsewhere; threads that could not be.
pub fn bind(
    pid: i32,
    identity: &Identity,
    placement: &Placement,
) -> Result<Vec<String>, FactError> {
    let threads = observed(&HostRoot::default(), pid)?;
    let failures = roles(&identity.roles, &threads).filter_map(|(role, thread)| {
        let cpus = wanted(placement, role).filter(|cpus| *cpus != thread.cpus)?;
        Some(format!("{role}: {}", moved(thread.tid, &cpus)?))
    });
    Ok(failures.collect())
}

/// Reads back where everything is. Under `strict` a mismatch is an error, else it is told.
pub fn confirm(pid: i32, identity: &Identity, plan: &LaunchPlan) -> Result<Report, PlaceError> {
    let report = observe(&HostRoot::default(), pid, identity, &plan.placement)?;
    settle(&plan.placement, report.mismatches())?;
    if has_vhost(plan) && !report.threads.iter().any(|it| it.role == Role::Vhost) {
        tracing::warn!(
            event = "vhost-not-ours",
            "vhost: this kernel (before Linux 6.4) has its workers among its own threads, which are not ours to place"
        );
    }
    if report.ok() {
        tracing::info!(
            event = "placement-confirmed",
            threads = report.threads.len(),
            "placement: {} as planned",
            summary(&report)
        );
    }
    Ok(report)
}

fn has_vhost(plan: &LaunchPlan) -> bool {
    let mut files = plan.fds.iter();
    plan.placement.emulator.is_some()
        && files.any(|file| matches!(file.open, Open::VhostNet { .. }))
}

fn summary(report: &Report) -> String {
    let threads = match report.threads.len() {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    let bytes: u64 = report.memory.iter().map(|memory| memory.bytes.0).sum();
    if bytes == 0 {
        threads
    } else {
        format!("{threads} and {} of memory", hugepages::Bytes(bytes))
    }
}

fn settle(placement: &Placement, misplaced: Vec<String>) -> Result<(), PlaceError> {
    if misplaced.is_empty() {
        return Ok(());
    }
    if placement.policy == Policy::Strict {
        return Err(PlaceError::Misplaced(misplaced));
    }
    for what in misplaced {
        tracing::warn!(event = "misplaced", "placement: {what}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn only_strict_refuses_to_start_a_guest_that_is_elsewhere() {
        let mut placement = fixtures::two_cells();
        let wrong = || vec!["vcpu 0 runs on `3`".to_owned()];
        assert!(settle(&placement, wrong()).is_ok());
        placement.policy = Policy::Strict;
        assert!(matches!(
            settle(&placement, wrong()),
            Err(PlaceError::Misplaced(what)) if what.len() == 1
        ));
        assert!(settle(&placement, Vec::new()).is_ok());
    }

    #[test]
    fn a_plain_vm_has_nothing_to_carry_out() {
        assert!(!is_placed(&Placement::default()));
        assert!(is_placed(&fixtures::two_cells()));
        assert!(check_realtime(&Placement::default()).is_ok());
    }
}

//! Keeps the VM where it was placed when the pod's cpuset changes under a running guest, and tells what could not be kept.
//!
//! What the kernel did to threads that were bound depends on its version (before 6.2 it forgets their affinity), so all
//! are bound anew, and read back. Memory is the kernel's to move: cgroup v2 moves what lies outside of the new nodes
//! (`cpuset_migrate_mm`), v1 only where `cpuset.memory_migrate` says so. What it did is read back and told.

use std::io;

use numa::{Cgroup, CpuSet, FactError, HostRoot};
use qmp::Session;
use tokio::sync::watch;

use super::cpuset::{Cpuset, Lists};
use super::late_threads::{LOOKS, Looks};
use crate::apply::records;
use crate::apply::threads;
use crate::placement::Placement;
use crate::placement::moved::moved;
use crate::plan::LaunchPlan;
use crate::verify::memory::MemoryCheck;
use crate::verify::observe::{observe_memory, observe_threads};
use crate::verify::report::after_mems;
use crate::verify::{Identity, Report, VerifyError};

/// What keeps a change from being noticed.
#[derive(Debug, thiserror::Error)]
pub enum InPlaceError {
    /// The group's files cannot be watched.
    #[error("the pod's cpuset cannot be watched")]
    Watch(#[from] io::Error),
    /// They cannot be found.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// QEMU does not tell of its threads.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Keeps the VM's threads in place for as long as it runs, those that come late too. What is elsewhere is told to
/// `elsewhere`, a line each.
pub async fn keep(
    plan: &LaunchPlan,
    qemu: i32,
    session: &Session,
    elsewhere: watch::Sender<Vec<String>>,
) -> Result<(), InPlaceError> {
    let mut late = Looks::new(session.events());
    let cpuset = Cpuset::watch(Cgroup::read(&HostRoot::default())?)?;
    let identity = Identity::ask(session, &plan.placement).await?;
    let memory = memory(plan, qemu).await.unwrap_or_default();
    // The plan was made before we watched: what changed in between is looked at first.
    let planned = planned(&plan.placement);
    let known = match cpuset.lists() {
        Ok(lists) if !lists.cpus.is_empty() => lists,
        _ => Lists {
            cpus: planned.clone(),
            ..Lists::default()
        },
    };
    let mut vm = Kept {
        plan,
        qemu,
        identity,
        known,
        changes: Vec::new(),
        report: Report {
            threads: Vec::new(),
            memory,
        },
        before_mems: Vec::new(),
        looks_at_memory: 0,
        elsewhere,
    };
    if planned.is_subset(&vm.known.cpus) {
        vm.look();
    } else {
        vm.replace();
    }
    loop {
        tokio::select! {
            written = cpuset.written() => {
                written?;
                if vm.cpuset_written(cpuset.lists()).await {
                    // The kernel moves pages from a work queue, and nothing tells when it is done.
                    late.again();
                }
            }
            () = late.next() => vm.look_late().await,
        }
    }
}

/// The VM, as it was found last.
struct Kept<'a> {
    plan: &'a LaunchPlan,
    qemu: i32,
    identity: Identity,
    known: Lists,
    /// What had to change because of the pod's CPUs.
    changes: Vec<String>,
    report: Report,
    /// Where memory was when the pod's memory nodes changed last.
    before_mems: Vec<MemoryCheck>,
    /// How many looks are left for pages that the kernel may still be moving.
    looks_at_memory: usize,
    elsewhere: watch::Sender<Vec<String>>,
}

impl Kept<'_> {
    /// Somebody wrote to the cpuset; whether other memory nodes came of it.
    async fn cpuset_written(&mut self, lists: Result<Lists, FactError>) -> bool {
        let mut now = match lists {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(event = "cpuset-unread", error = %crate::causes::chain(&error), "the pod's cpuset changed, and cannot be read");
                return false;
            }
        };
        if now.cpus.is_empty() {
            // v1 while it is made: nobody can run there.
            now.cpus.clone_from(&self.known.cpus);
        }
        let before = std::mem::replace(&mut self.known, now);
        let Lists { cpus, mems } = &self.known;
        if before.cpus != *cpus {
            tracing::warn!(event = "cpuset-changed", before = %before.cpus, now = %cpus, "the pod's CPUs changed from `{}` to `{cpus}`", before.cpus);
        }
        let other_mems = before.mems != *mems;
        if other_mems {
            tracing::warn!(event = "mems-changed", before = %before.mems, now = %mems, "the pod's memory nodes changed from `{}` to `{mems}`", before.mems);
            self.before_mems.clone_from(&self.report.memory);
            self.looks_at_memory = LOOKS.len() + 1;
            self.look_at_memory().await;
        }
        // The same again tells that somebody wrote, and the kernel may have moved threads.
        self.replace();
        other_mems
    }

    /// Tells what the kernel does with the guest's memory: that it moved when that is seen, that it stays after the last
    /// look.
    async fn look_at_memory(&mut self) {
        self.looks_at_memory -= 1;
        let Some(now) = memory(self.plan, self.qemu).await else {
            return;
        };
        let moved = now != self.report.memory;
        let stayed = self.looks_at_memory == 0 && now == self.before_mems;
        if !moved && !stayed {
            return;
        }
        self.report.memory = now;
        self.tell();
        let fates = after_mems(&self.before_mems, &self.report.memory, &self.known.mems);
        if fates.is_empty() {
            tracing::warn!(
                event = "memory-unplaced",
                "placement: guest memory had no node of its own: what the kernel does with it is not looked at"
            );
        }
        for fate in fates {
            tracing::warn!(event = "memory-after-mems", "placement: {fate}");
        }
    }

    /// Threads that came, and pages that went elsewhere, later.
    async fn look_late(&mut self) {
        if self.has_strays() {
            self.replace();
        }
        if self.looks_at_memory > 0 {
            self.look_at_memory().await;
        }
    }

    /// Whether a thread of QEMU's is elsewhere, as one that came late is.
    fn has_strays(&self) -> bool {
        let (placement, _) = moved(&self.plan.placement, &self.known.cpus);
        let root = HostRoot::default();
        // QEMU may be on its way out, which others will tell.
        let Ok(threads) = observe_threads(&root, self.qemu, &self.identity, &placement) else {
            return false;
        };
        let strays: Vec<_> = threads.iter().filter(|thread| !thread.ok).collect();
        for thread in &strays {
            tracing::info!(
                event = "thread-strayed",
                "placement: thread `{}` appeared on `{}`",
                thread.name,
                thread.actual
            );
        }
        !strays.is_empty()
    }

    /// Reads back where threads are, binding none.
    fn look(&mut self) {
        let root = HostRoot::default();
        let placement = &self.plan.placement;
        // One that cannot be read is told by whoever binds.
        if let Ok(threads) = observe_threads(&root, self.qemu, &self.identity, placement) {
            self.report.threads = threads;
            self.tell();
        }
    }

    /// Binds every thread to what the pod has left. Always from the plan, so that who got its CPUs back returns to them.
    fn replace(&mut self) {
        let allowed = &self.known.cpus;
        let (placement, changes) = moved(&self.plan.placement, allowed);
        for change in &changes {
            tracing::warn!(event = "re-placed", "placement: {change}");
        }
        self.changes = changes;
        if let Err(error) = threads::make_way(&placement) {
            tracing::warn!(event = "misplaced", error = %crate::causes::chain(&error), "placement: we are in the way of vCPUs");
        }
        let root = HostRoot::default();
        let found = threads::bind(self.qemu, &self.identity, &placement)
            .and_then(|_| observe_threads(&root, self.qemu, &self.identity, &placement));
        match found {
            Ok(threads) => self.report.threads = threads,
            Err(error) => {
                tracing::warn!(event = "misplaced", error = %crate::causes::chain(&error), "placement: where QEMU's threads are cannot be told");
                return;
            }
        }
        for what in self.report.mismatches() {
            tracing::warn!(event = "misplaced", "placement: {what}");
        }
        if self.report.threads.iter().all(|thread| thread.ok) {
            let count = self.report.threads.len();
            tracing::info!(
                event = "placement-confirmed",
                threads = count,
                "placement: {count} threads on `{allowed}`"
            );
        }
        self.tell();
    }

    /// Into the status, and the record of what was found.
    fn tell(&self) {
        let elsewhere = [self.changes.clone(), self.report.mismatches()].concat();
        self.elsewhere.send_if_modified(|known| {
            let news = *known != elsewhere;
            *known = elsewhere;
            news
        });
        let path = self.plan.paths.placement(self.plan.uid);
        if let Err(error) = records::write(&path, &self.report) {
            tracing::warn!(event = "not-recorded", error = %crate::causes::chain(&error), "where the VM's threads are is not recorded");
        }
    }
}

/// Where the guest's memory is, read beside the loop that owns the VM: the kernel may take seconds for it. None when it
/// cannot be read.
async fn memory(plan: &LaunchPlan, qemu: i32) -> Option<Vec<MemoryCheck>> {
    let placement = plan.placement.clone();
    let read = move || observe_memory(&HostRoot::default(), qemu, &placement);
    tokio::task::spawn_blocking(read).await.ok()?.ok()
}

/// All CPUs that anybody was given.
fn planned(placement: &Placement) -> CpuSet {
    let lists = placement.vcpus.iter().map(|vcpu| &vcpu.cpus);
    let lists = lists.chain(&placement.emulator);
    let lists = lists.chain(placement.iothreads.iter().map(|thread| &thread.cpus));
    lists.fold(CpuSet::new(), |all, list| {
        all.union(&list.parse().unwrap_or_default())
    })
}

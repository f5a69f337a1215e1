//! The pod's CPUs may change under a running guest: the kubelet writes a new `cpuset.cpus`.
//!
//! A watch on that file tells; one on the effective list stays silent. What the kernel then did to threads that were
//! bound depends on its version (before 6.2 it forgets their affinity), so all are bound anew, and read back.

use std::io;

use camino::Utf8PathBuf;
use numa::{Cgroup, ControlFile, CpuSet, FactError, HostRoot};
use qmp::Session;

use super::late_threads::Looks;
use super::logs;
use crate::apply::records;
use crate::apply::threads;
use crate::placement::Placement;
use crate::placement::moved::moved;
use crate::plan::LaunchPlan;
use crate::readable::Readable;
use crate::verify::{Identity, VerifyError, observe};

const EFFECTIVE: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.cpus.effective",
    v1: "cpuset.effective_cpus",
};
const WRITTEN: &str = "cpuset.cpus";

/// What keeps a change from being noticed.
#[derive(Debug, thiserror::Error)]
pub enum CpusetError {
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

/// Keeps the VM's threads in place for as long as it runs, those that come late too.
pub async fn keep(plan: &LaunchPlan, qemu: i32, session: &Session) -> Result<(), CpusetError> {
    let mut late = Looks::new(session.events());
    let cgroup = Cgroup::read(&HostRoot::default())?;
    let watch = watch(&cgroup)?;
    let identity = &Identity::ask(session, &plan.placement).await?;
    // The plan was made before we watched: what changed in between is looked at first.
    let planned = planned(&plan.placement);
    let mut known = match &watch {
        Some(_) => allowed(&cgroup).unwrap_or_default(),
        None => planned.clone(),
    };
    let mut changed = !planned.is_subset(&known);
    loop {
        if changed {
            replace(plan, qemu, identity, &known);
        }
        tokio::select! {
            written = written(watch.as_ref()) => written?,
            () = late.next() => {
                changed = strayed(plan, qemu, identity, &known);
                continue;
            }
        }
        match allowed(&cgroup) {
            Ok(now) => {
                // The same again tells that somebody wrote, and the kernel may have moved threads.
                changed = !now.is_empty();
                if now != known {
                    tracing::warn!(
                        event = "cpuset-changed",
                        before = %known,
                        now = %now,
                        "the pod's CPUs changed from `{known}` to `{now}`"
                    );
                }
                known = now;
            }
            Err(error) => {
                changed = false;
                tracing::warn!(event = "cpuset-unread", error = %crate::cli::chain(&error), "the pod's CPUs changed, and cannot be read");
            }
        }
    }
}

/// The group's own list and those above it; none where there is no cpuset.
fn watch(cgroup: &Cgroup) -> io::Result<Option<Readable>> {
    let files: Vec<Utf8PathBuf> = cgroup
        .groups("cpuset")
        .map(|group| group.file(WRITTEN, WRITTEN))
        .filter(|path| path.exists())
        .collect();
    if files.is_empty() {
        return Ok(None);
    }
    logs::watch(&files).map(Some)
}

/// Until somebody wrote to a list; for ever where there is none.
async fn written(watch: Option<&Readable>) -> io::Result<()> {
    match watch {
        Some(watch) => logs::changed(watch).await,
        None => std::future::pending().await,
    }
}

/// Whether a thread of QEMU's is elsewhere, as one that came late is.
fn strayed(plan: &LaunchPlan, qemu: i32, identity: &Identity, allowed: &CpuSet) -> bool {
    let (placement, _) = moved(&plan.placement, allowed);
    // QEMU may be on its way out, which others will tell.
    let Ok(report) = observe(&HostRoot::default(), qemu, identity, &placement) else {
        return false;
    };
    let strays: Vec<_> = report.threads.iter().filter(|thread| !thread.ok).collect();
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

/// By the cpuset alone: the scheduler's list of this thread is the emulator's.
fn allowed(cgroup: &Cgroup) -> Result<CpuSet, FactError> {
    let Some((path, text)) = cgroup.nearest(&EFFECTIVE)? else {
        return Ok(CpuSet::new());
    };
    text.parse()
        .map_err(|_| FactError::malformed(&path, &text, "a list such as `0-3,8`"))
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

/// Always from the plan, so that who got its CPUs back returns to them.
fn replace(plan: &LaunchPlan, qemu: i32, identity: &Identity, allowed: &CpuSet) {
    let (placement, changes) = moved(&plan.placement, allowed);
    for change in &changes {
        tracing::warn!(event = "re-placed", "placement: {change}");
    }
    if let Err(error) = threads::make_way(&placement) {
        tracing::warn!(event = "misplaced", error = %crate::cli::chain(&error), "placement: we are in the way of vCPUs");
    }
    let report = threads::bind(qemu, identity, &placement)
        .and_then(|_| observe(&HostRoot::default(), qemu, identity, &placement));
    match report {
        Ok(report) => {
            for what in report.mismatches() {
                tracing::warn!(event = "misplaced", "placement: {what}");
            }
            if report.ok() {
                tracing::info!(
                    event = "placement-confirmed",
                    threads = report.threads.len(),
                    "placement: {} threads on `{allowed}`",
                    report.threads.len()
                );
            }
            if let Err(error) = records::write(&plan.paths.placement(plan.uid), &report) {
                tracing::warn!(event = "not-recorded", error = %crate::cli::chain(&error), "where the VM's threads are is not recorded");
            }
        }
        Err(error) => {
            tracing::warn!(event = "misplaced", error = %crate::cli::chain(&error), "placement: where QEMU's threads are cannot be told");
        }
    }
}

//! This process, too, stays off the CPUs of dedicated vCPUs, once the pod has decided which those are.

use std::io;
use std::os::fd::AsFd;

use camino::Utf8Path;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use numa::{HostRoot, affinity};

use crate::apply::records;
use crate::readable::Readable;
use crate::supervise::logs;
use crate::verify::{Role, threads::wanted};

/// Waits for the plan in the VM's directory, and moves every thread of this process to the emulator's CPUs. Threads
/// that come later inherit them.
pub async fn step_aside(directory: &Utf8Path) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(directory.as_std_path(), AddWatchFlags::IN_MOVED_TO)?;
    let watch = Readable::new(inotify.as_fd().try_clone_to_owned()?)?;
    let path = directory.join("plan.json");
    // It may have come before we watched.
    while !path.exists() {
        logs::changed(&watch).await?;
    }
    let plan = records::read_plan(&path).map_err(io::Error::other)?;
    let Some(cpus) = wanted(&plan.placement, Role::Emulator) else {
        return Ok(());
    };
    let own = std::process::id().cast_signed();
    for thread in numa::threads(&HostRoot::default(), own).map_err(io::Error::other)? {
        match affinity::bind(thread.tid, &cpus) {
            Ok(()) | Err(numa::AffinityError::NoThread(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(())
}

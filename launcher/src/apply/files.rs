//! The open files that QEMU inherits, opened as the plan says.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use camino::{Utf8Path, Utf8PathBuf};

use numa::HostRoot;

use crate::host::pci::cdev_path;
use crate::net::setup::Taps;
use crate::passthrough::iommufd;
use crate::plan::{LaunchPlan, Open, PlannedFd};
use crate::supervise::logs;

/// A file that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One path failed.
    #[error("cannot {what} `{path}`")]
    Io {
        /// In words.
        what: &'static str,
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The plan and the opened taps differ.
    #[error("the plan wants queue {queue} of tap `{tap}`, which was not opened")]
    NoQueue {
        /// The tap.
        tap: String,
        /// From 0.
        queue: u16,
    },
}

fn failed(what: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Opens the plan's files, in its order.
pub fn open(plan: &LaunchPlan, taps: &Taps) -> Result<Vec<OwnedFd>, FilesError> {
    let folder = plan.paths.vm(plan.uid);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(failed("make", &folder))?;
    let root = HostRoot::default();
    let mut files = Vec::new();
    for PlannedFd { open, .. } in &plan.fds {
        files.push(match open {
            Open::Listener { path } => listen(path)?.into(),
            Open::Log { path } => logs::open(path).map_err(failed("open", path))?.into(),
            Open::Tap { tap, queue } => own(taps.queue(tap, *queue), tap, *queue)?,
            Open::VhostNet { tap, queue } => own(taps.vhost_net(tap, *queue), tap, *queue)?,
            Open::Iommufd => iommufd(&root)?.into(),
            Open::VfioDevice { cdev } => device(&cdev_path(&root, cdev))?.into(),
        });
    }
    Ok(files)
}

fn iommufd(root: &HostRoot) -> Result<File, FilesError> {
    let file = device(&iommufd::path(root))?;
    // A privilege that a pod has not got: virt-handler's limit is then one for all VMs of a user.
    if let Err(error) = iommufd::count_by_process(&file) {
        tracing::debug!(event = "memlock-not-told", error = %error, "locked memory is counted by user, not by process");
    }
    Ok(file)
}

fn device(path: &Utf8Path) -> Result<File, FilesError> {
    let mut options = File::options();
    let opened = options.read(true).write(true).open(path);
    opened.map_err(failed("open", path))
}

fn own(fd: Option<BorrowedFd<'_>>, tap: &str, queue: u16) -> Result<OwnedFd, FilesError> {
    let fd = fd.ok_or_else(|| FilesError::NoQueue {
        tap: tap.to_owned(),
        queue,
    })?;
    fd.try_clone_to_owned()
        .map_err(failed("copy a queue of", Utf8Path::new(tap)))
}

/// A listening socket that only we may connect to, in place of one that an earlier start left.
pub fn listen(path: &Utf8Path) -> Result<UnixListener, FilesError> {
    match std::fs::symlink_metadata(path) {
        Ok(left) if left.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(failed("replace", path))?
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(failed("protect", path))?;
    Ok(listener)
}

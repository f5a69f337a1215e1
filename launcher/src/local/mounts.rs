//! The pod's mounts: its own `/proc`, a fresh `/sys` that shows its own links, `/run` with KubeVirt's directories.

use std::fs;
use std::io;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use nix::mount::{MsFlags, mount};

/// A mount that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{path}` in the pod")]
pub struct MountError {
    what: &'static str,
    path: Utf8PathBuf,
    #[source]
    source: io::Error,
}

/// Where the pod's directories are outside.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct PodDirs {
    /// Becomes `/run/kubevirt`, `/run/kubevirt-private`, ... in the pod.
    pub run: Vec<(String, Utf8PathBuf)>,
    /// Becomes `/etc/resolv.conf`.
    pub resolv_conf: Utf8PathBuf,
}

/// Makes all of them, in the mount namespace of the caller.
pub fn make(dirs: &PodDirs) -> Result<(), MountError> {
    // Nothing of what follows may reach the machine's own mounts.
    on("make private", "/", || {
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
    })?;
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    on("mount proc on", "/proc", || {
        mount(Some("proc"), "/proc", Some("proc"), strict, NONE)
    })?;
    run(&dirs.run)?;
    sys(strict)?;
    if Path::new("/etc/resolv.conf").exists() {
        bind(&dirs.resolv_conf, Utf8Path::new("/etc/resolv.conf"))?;
    }
    Ok(())
}

const NONE: Option<&str> = None;

fn on(
    what: &'static str,
    path: impl AsRef<Utf8Path>,
    act: impl FnOnce() -> nix::Result<()>,
) -> Result<(), MountError> {
    act().map_err(|errno| MountError {
        what,
        path: path.as_ref().to_owned(),
        source: errno.into(),
    })
}

fn io(
    what: &'static str,
    path: &Utf8Path,
    act: impl FnOnce() -> io::Result<()>,
) -> Result<(), MountError> {
    act().map_err(|source| MountError {
        what,
        path: path.to_owned(),
        source,
    })
}

fn bind(from: &Utf8Path, to: &Utf8Path) -> Result<(), MountError> {
    on("bind", to, || {
        mount(
            Some(from.as_std_path()),
            to.as_std_path(),
            NONE,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            NONE,
        )
    })
}

/// A tmpfs over `/run` with the machine's entries bound back, so that nothing a VMI names there is hidden, and
/// with mount points for the pod's own directories, which the machine's `/run` then need not have.
fn run(pod: &[(String, Utf8PathBuf)]) -> Result<(), MountError> {
    let run = Utf8Path::new("/run");
    // Held open, the old directory stays reachable below the new mount.
    let old = fs::File::open(run).map_err(|source| MountError {
        what: "open",
        path: run.to_owned(),
        source,
    })?;
    let held = Utf8PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&old)
    ));
    let mut entries = Vec::new();
    io("list", run, || {
        for entry in fs::read_dir(run)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str() {
                entries.push((name.to_owned(), entry.file_type()?));
            }
        }
        Ok(())
    })?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    on("mount a tmpfs on", run, || {
        mount(
            Some("tmpfs"),
            "/run",
            Some("tmpfs"),
            flags,
            Some("mode=755"),
        )
    })?;
    for (name, kind) in entries {
        if pod.iter().any(|(own, _)| *own == name) {
            continue;
        }
        let (from, to) = (held.join(&name), run.join(&name));
        if kind.is_dir() {
            io("make", &to, || fs::create_dir(&to))?;
            bind(&from, &to)?;
        } else if kind.is_symlink() {
            io("link", &to, || {
                std::os::unix::fs::symlink(fs::read_link(&from)?, &to)
            })?;
        } else {
            io("make", &to, || fs::File::create(&to).map(drop))?;
            bind(&from, &to)?;
        }
    }
    for (name, outside) in pod {
        let to = run.join(name);
        io("make", &to, || fs::create_dir(&to))?;
        // Named as the machine names them: `/run/virt-launcher` was bound back above.
        bind(outside, &to)?;
    }
    Ok(())
}

/// The old sysfs shows the machine's links: it belongs to the network namespace that mounted it.
fn sys(flags: MsFlags) -> Result<(), MountError> {
    let cgroup = Utf8Path::new("/sys/fs/cgroup");
    let old = fs::File::open(cgroup);
    on("mount sysfs on", "/sys", || {
        mount(Some("sysfs"), "/sys", Some("sysfs"), flags, NONE)
    })?;
    if let Ok(old) = old {
        let held = Utf8PathBuf::from(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&old)
        ));
        bind(&held, cgroup)?;
    }
    Ok(())
}

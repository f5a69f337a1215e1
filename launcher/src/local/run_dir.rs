//! The directory of one local run, and those that killed runs left behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Sockets and locks of all local runs; on a tmpfs, gone with a reboot.
pub const RUNS: &str = "/run/virt-launcher";
/// Their overlays and empty disks, which may be large.
pub const DATA: &str = "/var/lib/virt-launcher";

/// In each of a run's directories, and locked while it lives. Both have one: runs with other mounts may share one
/// base and not the other.
const LOCK: &str = "lock";

/// Directories of a local run that cannot be made, locked or removed.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
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
    /// The thread that waits for another run failed.
    #[error("cannot wait for another run to start or end")]
    Thread(#[source] io::Error),
}

fn failed(what: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> RunDirError {
    move |source| RunDirError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Held while a run is made or leftovers are removed, so that no half-made run is taken for a leftover and no
/// address is chosen twice.
#[derive(Debug)]
pub struct Exclusive {
    runs: Utf8PathBuf,
    data: Utf8PathBuf,
    _lock: Flock<File>,
}

/// One run's directories. Removed by [`RunDir::remove`]; without it, by a later run.
#[derive(Debug)]
pub struct RunDir {
    /// `/run/virt-launcher/<id>`: what the pod sees as `/var/run/kubevirt*` is below it.
    pub path: Utf8PathBuf,
    /// `/var/lib/virt-launcher/<id>`.
    pub data: Utf8PathBuf,
    _locks: [Flock<File>; 2],
}

impl Exclusive {
    /// Takes it if nobody has it.
    pub fn try_take() -> Result<Option<Self>, RunDirError> {
        Self::of(RUNS.into(), DATA.into(), FlockArg::LockExclusiveNonblock)
    }

    /// Waits for it: it is held until the other run's pod is made, or its directories are gone.
    pub fn take() -> Result<Self, RunDirError> {
        let taken = Self::of(RUNS.into(), DATA.into(), FlockArg::LockExclusive)?;
        taken.ok_or_else(|| failed("lock", Utf8Path::new(RUNS))(Errno::EWOULDBLOCK.into()))
    }

    fn of(
        runs: Utf8PathBuf,
        data: Utf8PathBuf,
        how: FlockArg,
    ) -> Result<Option<Self>, RunDirError> {
        make(&runs, 0o755)?;
        make(&data, 0o711)?;
        let path = runs.join(".lock");
        let file = open(&path)?;
        // Whoever may read a file may lock it (flock(2)).
        file.set_permissions(PermissionsExt::from_mode(0o600))
            .map_err(failed("close to others", &path))?;
        match Flock::lock(file, how) {
            Ok(_lock) => Ok(Some(Self { runs, data, _lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(failed("lock", &path)(errno.into())),
        }
    }

    /// Removes what runs that were killed left: every directory with a lock that nobody holds. Beside what was removed
    /// stands what could not be: no reason not to run, for a process of a run killed just now may still be in it.
    pub fn remove_leftovers(&self) -> Result<(Vec<String>, Vec<RunDirError>), RunDirError> {
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for base in [&self.data, &self.runs] {
            for id in entries(base)? {
                let leftover = base.join(&id);
                let Some(_lock) = free_lock(&leftover)? else {
                    continue;
                };
                if let Err(error) = remove(&leftover) {
                    left.push(failed("remove the leftover", &leftover)(error));
                } else if !removed.contains(&id) {
                    removed.push(id);
                }
            }
        }
        Ok((removed, left))
    }

    /// Makes and locks a new run's directories; `domain` is for the reader, the rest makes it unique.
    pub fn make_run(&self, domain: &str) -> Result<RunDir, RunDirError> {
        let template = self.runs.join(format!("{domain}-XXXXXX"));
        let path = nix::unistd::mkdtemp(template.as_std_path())
            .map_err(|errno| failed("make", &template)(errno.into()))?;
        let path = Utf8PathBuf::from_path_buf(path)
            .map_err(|_| failed("name", &template)(Errno::EILSEQ.into()))?;
        let held = hold(&path)?;
        let data = self.data.join(path.file_name().unwrap_or_default());
        // Not one that is there: it would be another's.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&data)
            .map_err(failed("make", &data))?;
        let held = [held, hold(&data)?];
        for below in ["share", "private"] {
            make(&path.join(below), 0o755)?;
        }
        for below in ["ephemeral", "libvirt"] {
            make(&data.join(below), 0o755)?;
        }
        Ok(RunDir {
            path,
            data,
            _locks: held,
        })
    }
}

impl RunDir {
    /// The last part of its path.
    pub fn id(&self) -> &str {
        self.path.file_name().unwrap_or_default()
    }

    /// Removes everything, and tells all that could not be removed.
    pub fn remove(self) -> Result<(), Vec<RunDirError>> {
        let gone = |path: &Utf8Path| match remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Some(failed("remove", path)(error))
            }
            _ => None,
        };
        let failures: Vec<_> = [gone(&self.data), gone(&self.path)]
            .into_iter()
            .flatten()
            .collect();
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }
}

/// The lock of a directory of a run that is over. None while somebody holds it, and where there is no such file: that
/// directory is not ours to remove.
fn free_lock(directory: &Utf8Path) -> Result<Option<Flock<File>>, RunDirError> {
    let path = directory.join(LOCK);
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(&path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let metadata = file.metadata().map_err(failed("look at", &path))?;
    if !metadata.is_file() {
        return Ok(None);
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(failed("lock", &path)(errno.into())),
    }
}

/// Makes and takes a directory's lock, which has its name only once it is held: it is never seen free.
fn hold(directory: &Utf8Path) -> Result<Flock<File>, RunDirError> {
    let (path, nascent) = (directory.join(LOCK), directory.join(".lock"));
    let lock = Flock::lock(open(&nascent)?, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| failed("lock", &nascent)(errno.into()))?;
    std::fs::rename(&nascent, &path).map_err(failed("name", &path))?;
    Ok(lock)
}

/// Removes a directory, its lock last: what is left of it when that fails is still known for a leftover.
fn remove(directory: &Utf8Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != LOCK {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir_all(directory)
}

fn open(path: &Utf8Path) -> Result<File, RunDirError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))
}

fn make(path: &Utf8Path, mode: u32) -> Result<(), RunDirError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("make", path))
}

fn entries(base: &Utf8Path) -> Result<Vec<String>, RunDirError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(base).map_err(failed("list", base))? {
        let entry = entry.map_err(failed("list", base))?;
        let is_directory = entry.file_type().map_err(failed("list", base))?.is_dir();
        if let Some(name) = entry.file_name().to_str().filter(|_| is_directory) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusive(base: &Utf8Path) -> Option<Exclusive> {
        let how = FlockArg::LockExclusiveNonblock;
        Exclusive::of(base.join("run"), base.join("lib"), how).expect("directories")
    }

    #[test]
    fn only_what_is_ours_and_dead_is_removed() {
        let guard = tempfile::tempdir().expect("a directory");
        let base = Utf8Path::from_path(guard.path()).expect("UTF-8");
        let exclusive = exclusive(base).expect("nobody has it");
        let dead = exclusive.make_run("dead").expect("made");
        let (dead, left) = ((dead.path.clone(), dead.data.clone()), dead);
        drop(left);
        let alive = exclusive.make_run("alive").expect("made");
        // As of a run in another mount namespace, whose `/run` is another.
        let far = exclusive.make_run("far").expect("made");
        std::fs::remove_dir_all(&far.path).expect("there");
        let foreign = base.join("lib/foreign");
        std::fs::create_dir_all(foreign.join("below")).expect("made");
        let (removed, left) = exclusive.remove_leftovers().expect("readable");
        assert_eq!(removed, [dead.0.file_name().expect("a name")]);
        assert!(left.is_empty());
        assert!(!dead.0.exists() && !dead.1.exists());
        assert!(alive.path.exists() && alive.data.exists());
        assert!(far.data.join("ephemeral").exists());
        assert!(foreign.join("below").exists());
    }

    #[test]
    fn others_cannot_lock_runs_out() {
        let guard = tempfile::tempdir().expect("a directory");
        let base = Utf8Path::from_path(guard.path()).expect("UTF-8");
        let lock = base.join("run/.lock");
        std::fs::create_dir(base.join("run")).expect("made");
        std::fs::write(&lock, "").expect("made");
        std::fs::set_permissions(&lock, PermissionsExt::from_mode(0o644)).expect("ours");
        let first = exclusive(base).expect("nobody has it");
        let mode = std::fs::metadata(&lock).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(exclusive(base).is_none());
        drop(first);
        assert!(exclusive(base).is_some());
    }
}

//! The directory of one local run, and those that killed runs left behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Sockets and locks of all local runs; on a tmpfs, gone with a reboot.
pub const RUNS: &str = "/run/virt-launcher";
/// Their overlays and empty disks, which may be large.
pub const DATA: &str = "/var/lib/virt-launcher";

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
    _lock: Flock<File>,
}

/// One run's directories. Removed by [`RunDir::remove`]; without it, by a later run.
#[derive(Debug)]
pub struct RunDir {
    /// `/run/virt-launcher/<id>`: what the pod sees as `/var/run/kubevirt*` is below it.
    pub path: Utf8PathBuf,
    /// `/var/lib/virt-launcher/<id>`.
    pub data: Utf8PathBuf,
    _lock: Flock<File>,
}

impl Exclusive {
    /// Waits for it; it is held for milliseconds.
    pub fn take() -> Result<Self, RunDirError> {
        make(Utf8Path::new(RUNS), 0o755)?;
        make(Utf8Path::new(DATA), 0o711)?;
        let path = Utf8Path::new(RUNS).join(".lock");
        Ok(Self {
            _lock: lock(&path, FlockArg::LockExclusive)?,
        })
    }

    /// Removes what runs that were killed left: every directory whose lock nobody holds. Beside what was removed
    /// stands what could not be: no reason not to run, for a process of a run killed just now may still be in it.
    pub fn remove_leftovers(&self) -> Result<(Vec<String>, Vec<RunDirError>), RunDirError> {
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for base in [DATA, RUNS] {
            for id in entries(Utf8Path::new(base))? {
                let run = Utf8Path::new(RUNS).join(&id);
                if is_alive(&run)? {
                    continue;
                }
                let leftover = Utf8Path::new(base).join(&id);
                if let Err(error) = std::fs::remove_dir_all(&leftover) {
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
        let template = Utf8Path::new(RUNS).join(format!("{domain}-XXXXXX"));
        let path = nix::unistd::mkdtemp(template.as_std_path())
            .map_err(|errno| failed("make", &template)(errno.into()))?;
        let path = Utf8PathBuf::from_path_buf(path)
            .map_err(|_| failed("name", &template)(Errno::EILSEQ.into()))?;
        let held = lock(&path.join("lock"), FlockArg::LockExclusiveNonblock)?;
        let data = Utf8Path::new(DATA).join(path.file_name().unwrap_or_default());
        make(&data, 0o700)?;
        for below in ["share", "private"] {
            make(&path.join(below), 0o755)?;
        }
        for below in ["ephemeral", "libvirt"] {
            make(&data.join(below), 0o755)?;
        }
        Ok(RunDir {
            path,
            data,
            _lock: held,
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
        let gone = |path: &Utf8Path| match std::fs::remove_dir_all(path) {
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

/// Whether somebody holds the run's lock. Without a lock file it is not, or no longer, a run.
fn is_alive(run: &Utf8Path) -> Result<bool, RunDirError> {
    let path = run.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(failed("lock", &path)(errno.into())),
    }
}

fn lock(path: &Utf8Path, how: FlockArg) -> Result<Flock<File>, RunDirError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed("open", path))?;
    Flock::lock(file, how).map_err(|(_, errno)| failed("lock", path)(errno.into()))
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

//! The directory that holds a lock and the journals, and who among their holders is dead.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use camino::{Utf8Path, Utf8PathBuf};

use super::GrowError;
use super::journal::Journal;

/// The directory, locked (flock(2)) for as long as this lives. The lock goes with the process, however that ends.
pub(super) struct Directory {
    pub(super) path: Utf8PathBuf,
    _lock: File,
}

impl Directory {
    /// Waits for the lock.
    pub(super) fn lock(path: &Utf8Path) -> Result<Self, GrowError> {
        let failed = |action, path: &Utf8Path| {
            let path = path.to_owned();
            move |source| GrowError::Journal {
                action,
                path,
                source,
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make", path))?;
        let file = path.join("lock");
        let lock = options()
            .create(true)
            .open(&file)
            .map_err(failed("open", &file))?;
        lock.lock().map_err(failed("lock", &file))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// A new journal's file, held by us: nobody looks at it before the directory's lock is free again.
    pub(super) fn create(&self) -> Result<(Utf8PathBuf, File), GrowError> {
        let pid = std::process::id();
        let mut turn = 0_u32;
        loop {
            // Another PID namespace may have a process of our number.
            let path = self.path.join(format!("{pid}-{turn}.{JOURNAL}"));
            match options().create_new(true).open(&path) {
                Ok(file) => {
                    return match file.lock() {
                        Ok(()) => Ok((path, file)),
                        Err(source) => Err(GrowError::Journal {
                            action: "lock",
                            path,
                            source,
                        }),
                    };
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => turn += 1,
                Err(source) => {
                    return Err(GrowError::Journal {
                        action: "make",
                        path,
                        source,
                    });
                }
            }
        }
    }

    /// Journals that nobody holds, now held by us.
    pub(super) fn orphans(&self) -> Result<Vec<Journal>, GrowError> {
        let mut orphans = Vec::new();
        for name in numa::file::names(&self.path)? {
            let path = self.path.join(&name);
            if path.extension() != Some(JOURNAL) {
                continue;
            }
            let failed = |action| {
                let path = path.clone();
                move |source| GrowError::Journal {
                    action,
                    path,
                    source,
                }
            };
            let file = options().open(&path).map_err(failed("open"))?;
            match file.try_lock() {
                Ok(()) => orphans.push(Journal::read(path, file)?),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
            }
        }
        Ok(orphans)
    }
}

const JOURNAL: &str = "journal";

/// For appending; only its owner reads it. A link in the place of a file is not followed.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options
}

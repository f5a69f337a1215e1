//! The VM's private directory as its supervisors share it: the plan that is carried out, and the journal.
//!
//! PID 1 keeps the directory open and locked, so that a supervisor without a `Spec`, an environment or a path finds
//! it, and no other launcher takes it for its own. Both files are replaced whole: whoever reads sees one or the other.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic_file;

/// The plan's file.
pub const PLAN: &str = "plan.json";
/// The journal's file.
pub const JOURNAL: &str = "journal.json";

/// The status's file.
pub const STATUS: &str = "status.json";

/// A state that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// One file or the directory failed.
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
    /// Two launchers on one VM.
    #[error("`{path}` belongs to a launcher that still runs this VM")]
    Taken {
        /// The directory.
        path: Utf8PathBuf,
    },
    /// The file is not what this program reads.
    #[error("`{path}` cannot be understood")]
    Garbled {
        /// Which.
        path: Utf8PathBuf,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
}

/// The directory, open and locked.
#[derive(Debug)]
pub struct StateDir {
    dir: File,
}

impl StateDir {
    /// Makes the directory if it is not there, and locks it for this launcher: PID 1 and all its supervisors.
    pub fn make(path: &Utf8Path) -> Result<Self, StateError> {
        let failed = |what| {
            move |source| StateError::Io {
                what,
                path: path.to_owned(),
                source,
            }
        };
        // virt-handler looks through it for the console.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(failed("make"))?;
        let dir = File::open(path).map_err(failed("open"))?;
        match dir.try_lock() {
            Ok(()) => Ok(Self { dir }),
            Err(std::fs::TryLockError::WouldBlock) => Err(StateError::Taken {
                path: path.to_owned(),
            }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed("lock")(error)),
        }
    }

    /// Takes up the directory that PID 1 kept; the lock is its file's.
    pub fn from_kept(dir: OwnedFd) -> Self {
        Self { dir: dir.into() }
    }

    /// Replaces a file of the directory, for its owner alone.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        let text = serde_json::to_vec(value).map_err(|source| StateError::Garbled {
            path: name.into(),
            source,
        })?;
        let written = atomic_file::replace(&self.dir, name, &text);
        written.map_err(|source| StateError::Io {
            what: "write",
            path: name.into(),
            source,
        })
    }

    /// The text of a file of the directory.
    pub fn text(&self, name: &str) -> Result<String, StateError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.dir, name, flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| io::read_to_string(File::from(file)))
            .map_err(|source| StateError::Io {
                what: "read",
                path: name.into(),
                source,
            })
    }

    /// What a file of the directory holds.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, StateError> {
        serde_json::from_str(&self.text(name)?).map_err(|source| StateError::Garbled {
            path: name.into(),
            source,
        })
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("vm")).unwrap();
        (folder, path)
    }

    #[test]
    fn the_lock_outlives_whoever_took_it_as_long_as_the_file_is_kept() {
        let (_folder, path) = directory();
        let first = StateDir::make(&path).unwrap();
        let kept = first.as_fd().try_clone_to_owned().unwrap();
        drop(first);
        assert!(matches!(
            StateDir::make(&path),
            Err(StateError::Taken { .. })
        ));
        drop(StateDir::from_kept(kept));
        StateDir::make(&path).unwrap();
    }

    #[test]
    fn files_are_replaced_whole_and_private() {
        let (_folder, path) = directory();
        let dir = StateDir::make(&path).unwrap();
        dir.write(JOURNAL, &[1, 2]).unwrap();
        dir.write(JOURNAL, &[3]).unwrap();
        assert_eq!(dir.read::<Vec<u8>>(JOURNAL).unwrap(), [3]);
        let mode = std::fs::metadata(path.join(JOURNAL)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let (_folder, path) = directory();
        let dir = StateDir::make(&path).unwrap();
        let target = path.join("target");
        std::fs::write(&target, "[]").unwrap();
        std::os::unix::fs::symlink(&target, path.join("journal.json.new")).unwrap();
        dir.write(JOURNAL, &[1]).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "[]");
        std::os::unix::fs::symlink(&target, path.join(PLAN)).unwrap();
        assert!(dir.read::<Vec<u8>>(PLAN).is_err());
    }
}

//! Files of our own in directories of our own, held by fd, so that nobody's symbolic link leads us elsewhere.
//!
//! QEMU runs as the user who owns these directories. A guest that took QEMU over could put a link there and wait
//! for the next start; so a link counts only when root made it (`/var/run` is one), and nothing else is followed.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::StorageError;

/// As the kernel's own limit (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;
/// Owner everything, group may look.
const DIRECTORY_MODE: Mode = Mode::S_IRWXU.union(Mode::S_IRGRP).union(Mode::S_IXGRP);
/// KubeVirt's mode for images: owner writes, group reads.
const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR).union(Mode::S_IRGRP);

/// A directory that is made, or found, and stays the same one whatever happens to its path.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: Utf8PathBuf,
}

/// Something that we made and may remove again.
#[derive(Debug)]
pub(super) struct Made {
    /// In which it lies.
    parent: OwnedFd,
    name: String,
    /// For messages.
    path: Utf8PathBuf,
    kind: MadeKind,
}

#[derive(Debug)]
enum MadeKind {
    Directory,
    /// Device and inode: a file that has come in its place is not ours.
    File(u64, u64),
}

impl Dir {
    /// Opens the absolute `path`, making what is missing of it; what was made is added to `made`, even on failure.
    pub(super) fn open(path: &Utf8Path, made: &mut Vec<Made>) -> Result<Self, StorageError> {
        let mut todo: VecDeque<String> = components(path);
        let mut here = root()?;
        let mut seen = Utf8PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            let path = seen.join(&name);
            let fd = step(&here, &name, &path, made)?;
            let stat = fstat(&fd).map_err(|errno| StorageError::io("look at", &path, errno))?;
            if kind(&stat) != SFlag::S_IFLNK {
                here = fd;
                seen = path;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(StorageError::io("open", path, Errno::ELOOP));
            }
            if stat.st_uid != 0 {
                let owner = stat.st_uid;
                return Err(StorageError::ForeignLink { link: path, owner });
            }
            let target = read_link(&fd, &path)?;
            if target.is_absolute() {
                here = root()?;
                seen = "/".into();
            }
            for name in components(&target).into_iter().rev() {
                todo.push_front(name);
            }
        }
        let path = path.to_owned();
        Ok(Self { fd: here, path })
    }

    /// What has this name, without following it; none when nothing has.
    pub(super) fn stat(&self, name: &str) -> Result<Option<FileStat>, StorageError> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(StorageError::io("look at", self.path.join(name), errno)),
        }
    }

    /// Whether a regular file has this name; an error when something else has.
    pub(super) fn has_file(&self, name: &str) -> Result<bool, StorageError> {
        match self.stat(name)? {
            None => Ok(false),
            Some(stat) if kind(&stat) == SFlag::S_IFREG => Ok(true),
            Some(_) => Err(StorageError::NotAFile {
                path: self.path.join(name),
            }),
        }
    }

    /// Makes a file that must not exist yet, and has `fill` write it. On failure nothing stays.
    pub(super) fn create(
        &self,
        name: &str,
        fill: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> Result<Made, StorageError> {
        let path = self.path.join(name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let fd = openat(&self.fd, name, flags | OFlag::O_CLOEXEC, FILE_MODE)
            .map_err(|errno| StorageError::io("create", &path, errno))?;
        let file = File::from(fd);
        let made = self.made(name, &file)?;
        if let Err(error) = fill(&file) {
            // The first failure is the one to tell; what stays is at most an unfinished file.
            let _ = made.remove();
            return Err(StorageError::io("write", path, error));
        }
        Ok(made)
    }

    /// Makes a file, in place of whatever has its name. Whoever opens it sees the old one or the whole new one.
    pub(super) fn replace(
        &self,
        name: &str,
        fill: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> Result<Made, StorageError> {
        let unfinished = format!("{name}.new");
        match unlinkat(&self.fd, unfinished.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                let path = self.path.join(unfinished);
                return Err(StorageError::io("remove", path, errno));
            }
        }
        let mut made = self.create(&unfinished, fill)?;
        if let Err(errno) = renameat(&self.fd, unfinished.as_str(), &self.fd, name) {
            let _ = made.remove();
            return Err(StorageError::io("replace", self.path.join(name), errno));
        }
        name.clone_into(&mut made.name);
        made.path = self.path.join(name);
        Ok(made)
    }

    fn made(&self, name: &str, file: &File) -> Result<Made, StorageError> {
        let path = self.path.join(name);
        let stat = fstat(file).map_err(|errno| StorageError::io("look at", &path, errno))?;
        let parent = self.fd.try_clone();
        Ok(Made {
            parent: parent.map_err(|error| StorageError::io("hold", &self.path, error))?,
            name: name.to_owned(),
            path,
            kind: MadeKind::File(stat.st_dev, stat.st_ino),
        })
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Made {
    /// Whether it is a directory, which goes after what lies in it.
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, MadeKind::Directory)
    }

    /// How deep it lies.
    pub(super) fn depth(&self) -> usize {
        self.path.components().count()
    }

    /// Removes it, if it is still there and still ours. A directory in which others put something stays.
    pub(super) fn remove(&self) -> Result<(), StorageError> {
        let name = self.name.as_str();
        let flag = match self.kind {
            MadeKind::Directory => UnlinkatFlags::RemoveDir,
            MadeKind::File(device, inode) => {
                match fstatat(&self.parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(stat) if (stat.st_dev, stat.st_ino) == (device, inode) => {}
                    _ => return Ok(()),
                }
                UnlinkatFlags::NoRemoveDir
            }
        };
        match unlinkat(&self.parent, name, flag) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => Ok(()),
            Err(errno) => Err(StorageError::io("remove", &self.path, errno)),
        }
    }
}

/// Opens one component without following it; makes it a directory when it is missing.
fn step(
    parent: &OwnedFd,
    name: &str,
    path: &Utf8Path,
    made: &mut Vec<Made>,
) -> Result<OwnedFd, StorageError> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let error = |what, errno: Errno| StorageError::io(what, path, errno);
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        opened => return opened.map_err(|errno| error("open", errno)),
    }
    match mkdirat(parent, name, DIRECTORY_MODE) {
        Ok(()) => {
            let parent = parent.try_clone();
            made.push(Made {
                parent: parent.map_err(|source| StorageError::io("hold", path, source))?,
                name: name.to_owned(),
                path: path.to_owned(),
                kind: MadeKind::Directory,
            });
        }
        // Another disk's directory has the same parent, and was quicker.
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(error("create the directory", errno)),
    }
    openat(parent, name, flags | OFlag::O_DIRECTORY, Mode::empty())
        .map_err(|errno| error("open", errno))
}

fn root() -> Result<OwnedFd, StorageError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, "/", flags, Mode::empty())
        .map_err(|errno| StorageError::io("open", "/", errno))
}

fn read_link(link: &OwnedFd, path: &Utf8Path) -> Result<Utf8PathBuf, StorageError> {
    // An empty name stands for the fd itself (readlinkat(2)), so this is the link whose owner was looked at.
    let target = readlinkat(link, "").map_err(|errno| StorageError::io("read", path, errno))?;
    target
        .into_string()
        .map(Utf8PathBuf::from)
        .map_err(|_| StorageError::io("follow", path, Errno::EILSEQ))
}

/// The names in a path; `..` stays, and means what the kernel means by it.
fn components(path: &Utf8Path) -> VecDeque<String> {
    path.as_str()
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .map(str::to_owned)
        .collect()
}

/// What kind of file it is.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

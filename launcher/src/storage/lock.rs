//! Whether another QEMU has an image open, asked before ours would fail on it.
//!
//! QEMU marks what it does with a file by open-file-description locks on single bytes (`block/file-posix.c`):
//! byte 100 + n says "I use permission n", byte 200 + n says "nobody else may". Asking (`F_OFD_GETLK`) takes
//! nothing, so a QEMU that starts meanwhile is not disturbed.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use camino::Utf8Path;
use nix::fcntl::{FcntlArg, fcntl};

/// `RAW_LOCK_PERM_BASE`.
const USED: i64 = 100;
/// `RAW_LOCK_SHARED_BASE`.
const UNSHARED: i64 = 200;

/// QEMU's block permissions, by bit number (`include/block/block-common.h`).
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What our QEMU will do with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A read-only disk, or an image below an overlay.
    Read,
    /// A disk that the guest writes to.
    Write,
}

/// Whether another process holds a lock that keeps a QEMU with this access out. False where the file system has
/// no such locks, as QEMU then goes on without them.
pub fn in_use(file: &File, access: Access) -> io::Result<bool> {
    // A disk tolerates no other writer, so whoever says "I write" or "I resize" is in the way; and so is whoever
    // shares with nobody what we need.
    let reader = [USED + WRITE, USED + RESIZE, UNSHARED + CONSISTENT_READ];
    let writer = [UNSHARED + WRITE];
    let bytes = match access {
        Access::Read => reader.iter().chain(&[]),
        Access::Write => reader.iter().chain(&writer),
    };
    for &byte in bytes {
        if held(file, byte)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same, of a path.
pub fn locked(path: &Utf8Path, access: Access) -> io::Result<bool> {
    in_use(&super::facts::open(path, 0)?, access)
}

/// Whether someone else holds any lock on this byte.
fn held(file: &File, byte: i64) -> io::Result<bool> {
    let mut lock = nix::libc::flock {
        // `struct flock` has shorts where the constants are ints.
        l_type: i16::try_from(nix::libc::F_WRLCK).expect("it is 1"),
        l_whence: i16::try_from(nix::libc::SEEK_SET).expect("it is 0"),
        l_start: byte,
        l_len: 1,
        // Must be 0 for this kind of lock (fcntl(2)).
        l_pid: 0,
    };
    match fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) => Ok(i32::from(lock.l_type) != nix::libc::F_UNLCK),
        Err(
            nix::errno::Errno::EINVAL | nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOLCK,
        ) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

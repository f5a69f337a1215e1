//! A small file that is replaced whole: whoever reads it sees one content or the other.
//!
//! It lies in a directory that another user may write to as well (QEMU's), so that nothing there is followed or trusted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Replaces the file `name` of `directory`, for its owner alone. Not synced: it must outlive this process, not the machine.
pub fn replace(directory: impl AsFd, name: &str, content: &[u8]) -> io::Result<()> {
    let directory = directory.as_fd();
    let fresh = format!("{name}.new");
    let fresh = fresh.as_str();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let open = || openat(directory, fresh, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let file = match open() {
        // A killed writer left one, which may be a link by now.
        Err(Errno::EEXIST) => {
            unlinkat(directory, fresh, UnlinkatFlags::NoRemoveDir)?;
            open()?
        }
        opened => opened?,
    };
    File::from(file).write_all(content)?;
    Ok(renameat(directory, fresh, directory, name)?)
}

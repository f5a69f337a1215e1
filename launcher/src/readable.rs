//! Files that tell by readability that something happened: pidfds, inotify, the channel to PID 1.
#![expect(
    unsafe_code,
    reason = "tokio takes a raw file only with a promise about its life"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// An owned file, registered with the runtime.
#[derive(Debug)]
pub struct Readable {
    file: AsyncFd<OwnedFd>,
}

impl Readable {
    /// Registers `file`, which should be non-blocking if it will be read.
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` stays open and the same file as long as it lives, and here it is neither replaced nor
        // given out but by reference. tokio has no safe registration for files that are no sockets of its own.
        let file = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?;
        Ok(Self { file })
    }

    /// Waits until it can be read. Cancel-safe; call `clear_ready` on the guard when it would block.
    pub async fn ready(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.file.readable().await
    }

    /// Reads if the file is ready; that it would block makes [`Readable::ready`] wait again.
    pub fn try_read<T>(&self, read: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        self.file.try_io(Interest::READABLE, read)
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.get_ref().as_fd()
    }
}

//! Handles on processes that a reused number cannot confuse.
#![expect(
    unsafe_code,
    reason = "nix wraps neither pidfd_open nor pidfd_send_signal"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// `pidfd_open(2)`: readable when the process has ended.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: a plain system call on numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this file for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `pidfd_send_signal(2)`.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    let (fd, number) = (pidfd.as_raw_fd(), signal as i32);
    // SAFETY: plain numbers and a null pointer, which pidfd_send_signal(2) allows.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, nothing, 0) })
        .map(drop)
}

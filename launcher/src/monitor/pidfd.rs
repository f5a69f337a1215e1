//! Handles on processes that a reused number cannot confuse.
#![expect(
    unsafe_code,
    reason = "nix wraps neither pidfd_open nor pidfd_send_signal, and its waitpid loses who died of a real-time signal"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::protocol::ExitStatus;

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

/// Reaps one child that has ended, whichever it is; none when no other has.
pub fn reap_one() -> Option<(Pid, ExitStatus)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one number.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        match pid {
            -1 if Errno::last() == Errno::EINTR => {}
            ..=0 => return None,
            pid if libc::WIFSIGNALED(status) => {
                return Some((
                    Pid::from_raw(pid),
                    ExitStatus::Signal(libc::WTERMSIG(status)),
                ));
            }
            pid if libc::WIFEXITED(status) => {
                return Some((
                    Pid::from_raw(pid),
                    ExitStatus::Code(libc::WEXITSTATUS(status)),
                ));
            }
            // Stopped or continued, which nobody asked to hear of.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// nextest gives each test a process of its own: no other child is there to be reaped.
    #[test]
    fn whoever_dies_of_a_real_time_signal_is_known() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let pidfd = pidfd_open(pid).unwrap();
        assert_eq!(reap_one(), None);
        Command::new("kill")
            .args(["-40", &pid.to_string()])
            .status()
            .unwrap();
        let mut ended = [nix::poll::PollFd::new(
            std::os::fd::AsFd::as_fd(&pidfd),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut ended, nix::poll::PollTimeout::NONE).unwrap();
        assert_eq!(reap_one(), Some((pid, ExitStatus::Signal(40))));
        assert!(child.try_wait().is_err(), "it is reaped");
    }
}

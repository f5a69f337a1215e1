//! A child in namespaces of its own.
#![expect(
    unsafe_code,
    reason = "only clone3 makes a process that is PID 1 of a new PID namespace at once"
)]

use std::ffi::{CString, NulError, OsStr, OsString};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::unistd::Pid;

/// A child, by number and by handle.
#[derive(Debug)]
pub struct Cloned {
    /// In our PID namespace.
    pub pid: Pid,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// What to execute in the child. Made before the clone: nothing is allocated after it.
#[derive(Debug)]
pub struct Program {
    path: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Program {
    /// `path` with its whole argv and environment.
    pub fn new(
        path: &str,
        argv: &[String],
        env: &[(OsString, OsString)],
    ) -> Result<Self, NulError> {
        let variable = |(name, value): &(OsString, OsString)| {
            CString::new([name, OsStr::new("="), value].map(OsStr::as_bytes).concat())
        };
        Ok(Self {
            path: CString::new(path)?,
            argv: argv
                .iter()
                .map(|argument| CString::new(argument.as_str()))
                .collect::<Result<_, _>>()?,
            envp: env.iter().map(variable).collect::<Result<_, _>>()?,
        })
    }
}

/// PID, mount, network, UTS and IPC: what a pod has of its own.
const POD: u64 = (libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC)
    .cast_unsigned() as u64;

/// Starts `program` as PID 1 of new namespaces. Files that are not close-on-exec and the signal mask go with it.
pub fn clone_into_pod(program: &Program) -> Result<Cloned, Errno> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(&program.argv), pointers(&program.envp));
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain numbers, for which all zeroes is a valid value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = POD | libc::CLONE_PIDFD.cast_unsigned() as u64;
    arguments.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    arguments.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    // SAFETY: without CLONE_VM this is a fork; the child has its own copy of memory and calls only execve and
    // _exit, which are async-signal-safe, on strings made before. No wrapper in std or nix can make PID 1 of a new
    // namespace without a callback on a borrowed stack.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    if pid == 0 {
        // SAFETY: see above; the vectors end in null and outlive the call.
        unsafe { libc::execve(program.path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        // SAFETY: ends the child without running anything of ours.
        unsafe { libc::_exit(127) }
    }
    let pid = i32::try_from(Errno::result(pid)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just stored a file there that is ours alone (CLONE_PIDFD, `clone(2)`).
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned {
        pid: Pid::from_raw(pid),
        pidfd,
    })
}

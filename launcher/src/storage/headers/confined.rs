//! The child that reads images: what it gives up, and what it then does.
//!
//! It is a fork without an exec, as an exec takes longer than all of this and needs a program that can be found. What it
//! has of the parent's memory it cannot tell: under seccomp's strict mode (seccomp(2)) there is no call but `read`,
//! `write` and `exit`, and nothing is open but the images and the pipe for the answers. So it opens nothing, whatever
//! Landlock domain it is in.
#![expect(
    unsafe_code,
    reason = "only a fork makes a child without a program, and the calls that confine it have no wrapper that allocates nothing"
)]

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use super::super::qcow2::{HEADER_READ, Header};
use super::{Found, HeaderError};

/// Bytes of one answer: what it is, whether another file is named, the size that the guest sees or an errno.
pub(super) const ANSWER: usize = 10;

/// What an answer is.
const NO_QCOW2: u8 = 0;
const QCOW2: u8 = 1;
const UNREAD: u8 = 2;

/// What the child is held to. Seconds, bytes, files, processes: it needs what it has, and a moment.
pub(super) const LIMITS: [(Resource, rlim_t); 6] = [
    (Resource::RLIMIT_CPU, 1),
    (Resource::RLIMIT_AS, 0),
    (Resource::RLIMIT_FSIZE, 0),
    (Resource::RLIMIT_NOFILE, 0),
    (Resource::RLIMIT_NPROC, 0),
    (Resource::RLIMIT_CORE, 0),
];

/// Starts a child that reads the first bytes of each file, from where the file stands, and answers to `answers`.
pub(super) fn start(files: &[File], answers: &OwnedFd) -> Result<Pid, Errno> {
    let (images, answers) = (numbers(files), answers.as_raw_fd());
    let mut kept = images.clone();
    kept.push(answers);
    kept.sort_unstable();
    let parent = getpid();
    // SAFETY: other threads may hold locks, so the child only makes system calls on numbers and memory that were
    // prepared before, and ends with one: nothing is allocated, locked, unwound or dropped. std's `Command` can run
    // nothing but programs.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = match confine(parent, &kept) {
                Ok(()) => i32::from(tell(&images, answers).is_err()),
                Err(errno) => errno as i32,
            };
            loop {
                // SAFETY: ends the one thread that the child has; `_exit` is `exit_group`, which strict mode refuses.
                unsafe { libc::syscall(libc::SYS_exit, code) };
            }
        }
    }
}

fn numbers(files: &[File]) -> Vec<RawFd> {
    files.iter().map(AsRawFd::as_raw_fd).collect()
}

/// Gives up everything but what is in `kept`, in rising order.
fn confine(parent: Pid, kept: &[RawFd]) -> Result<(), Errno> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have gone before that took effect (prctl(2)).
    if getppid() != parent {
        return Err(Errno::ESRCH);
    }
    let mut next = 0;
    for &number in kept {
        if next < number {
            close(next, number - 1)?;
        }
        next = number + 1;
    }
    close(next, RawFd::MAX)?;
    for (what, limit) in LIMITS {
        setrlimit(what, limit, limit)?;
    }
    prctl::set_no_new_privs()?;
    drop_capabilities()?;
    // SAFETY: a plain call on numbers; nix has no wrapper.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) }).map(drop)
}

fn close(first: RawFd, last: RawFd) -> Result<(), Errno> {
    let (first, last) = (first.cast_unsigned(), last.cast_unsigned());
    // SAFETY: files that parts of the parent own are closed, and none of those parts runs in this child. Neither std nor
    // nix closes what it has no owner of.
    Errno::result(unsafe { libc::close_range(first, last, 0) }).map(drop)
}

/// `capset(2)`, by its third version (`linux/capability.h`): `caps` allocates.
fn drop_capabilities() -> Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: the kernel reads two numbers and twice three, and writes only to the header's first where it does not know
    // the version, which every kernel that has Landlock does; both outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) })
        .map(drop)
}

/// What the child exists for.
fn tell(images: &[RawFd], answers: RawFd) -> Result<(), Errno> {
    // SAFETY: both are open in this child, and nothing in it closes them.
    let file = |number| unsafe { BorrowedFd::borrow_raw(number) };
    for &image in images {
        let answer = answer(beginning(file(image)));
        nix::unistd::write(file(answers), &answer)?;
    }
    Ok(())
}

/// The first bytes, as many as a qcow2 header has, and how many there are.
fn beginning(image: BorrowedFd<'_>) -> Result<([u8; HEADER_READ], usize), Errno> {
    let mut bytes = [0; HEADER_READ];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match nix::unistd::read(image, rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok((bytes, filled))
}

fn answer(beginning: Result<([u8; HEADER_READ], usize), Errno>) -> [u8; ANSWER] {
    let (what, other, number) = match beginning {
        Err(errno) => (UNREAD, false, (errno as i32).cast_unsigned().into()),
        Ok((bytes, filled)) => match Header::parse(bytes.get(..filled).unwrap_or(&[])) {
            Some(header) => (QCOW2, header.names_other_file, header.virtual_size),
            None => (NO_QCOW2, false, 0),
        },
    };
    let mut answer = [0; ANSWER];
    answer[0] = what;
    answer[1] = u8::from(other);
    answer[2..].copy_from_slice(&u64::to_le_bytes(number));
    answer
}

/// An answer, whoever gave it.
pub(super) fn understood(answer: &[u8; ANSWER]) -> Found {
    let [what, other, number @ ..] = *answer;
    let number = u64::from_le_bytes(number);
    match what {
        NO_QCOW2 => Ok(None),
        QCOW2 => Ok(Some(Header {
            virtual_size: number,
            names_other_file: other != 0,
        })),
        UNREAD => Err(HeaderError::Read(Errno::from_raw(
            i32::try_from(number).unwrap_or(0),
        ))),
        _ => Err(HeaderError::Ended("its answer is none".to_owned())),
    }
}

//! How QEMU is started: the one place, so that under virt-handler a helper can stand in between (facts 3.5).
#![expect(
    unsafe_code,
    reason = "pre_exec is the only way to set a child's mask, limits and death signal"
)]

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping, FdMappingCollision};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpid, getppid, setsid};
use numa::CpuSet;

use super::protocol::SpawnRequest;

/// A spawn request is some kilobytes; the bound keeps a confused supervisor from filling PID 1's memory.
const LONGEST_REQUEST: u64 = 64 << 20;

/// Why QEMU was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The memfd could not be read.
    #[error("the spawn request cannot be read")]
    Unreadable(#[source] io::Error),
    /// The memfd holds something else.
    #[error("the spawn request is not understood")]
    Garbled(#[source] serde_json::Error),
    /// Numbers and files do not match.
    #[error("the spawn request names {numbers} files and {files} came with it")]
    Files {
        /// Entries of `fds`.
        numbers: usize,
        /// Files received.
        files: usize,
    },
    /// An argv without a program.
    #[error("the spawn request names no program")]
    NoProgram,
    /// The affinity is no CPU list.
    #[error("the spawn request's affinity is malformed")]
    Affinity(#[source] numa::BadCpuList),
    /// Two files on one number.
    #[error("the spawn request gives two files one number")]
    Collision(#[source] FdMappingCollision),
    /// The kernel said no.
    #[error("cannot execute `{program}` (`--qemu PATH` names QEMU's program)")]
    Exec {
        /// First entry of the argv.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads a request from its memfd.
pub fn read_request(memfd: OwnedFd) -> Result<SpawnRequest, SpawnError> {
    let mut file = File::from(memfd);
    file.rewind().map_err(SpawnError::Unreadable)?;
    let mut text = String::new();
    file.take(LONGEST_REQUEST)
        .read_to_string(&mut text)
        .map_err(SpawnError::Unreadable)?;
    serde_json::from_str(&text).map_err(SpawnError::Garbled)
}

/// Starts QEMU. The child has its own session (a terminal's ^C is not for it), an empty signal mask, no
/// environment but the request's, no file but the request's, and dies with the caller.
pub fn spawn(request: &SpawnRequest, files: Vec<OwnedFd>) -> Result<Child, SpawnError> {
    if request.fds.len() != files.len() {
        return Err(SpawnError::Files {
            numbers: request.fds.len(),
            files: files.len(),
        });
    }
    let (program, arguments) = request.argv.split_first().ok_or(SpawnError::NoProgram)?;
    let affinity: Option<CpuSet> = request
        .affinity
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(SpawnError::Affinity)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(request.env.iter().cloned());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let memlock = request.memlock;
    let parent = getpid();
    // SAFETY: the closure runs between fork and exec of a process that has one thread, so no lock can be held by
    // another one; it makes plain system calls and allocates at most the affinity mask. `Command` has no safe way
    // to set these.
    unsafe { command.pre_exec(move || prepare_child(parent, affinity.as_ref(), memlock)) };
    let mappings = files
        .into_iter()
        .zip(&request.fds)
        .map(|(file, number)| FdMapping {
            parent_fd: file,
            child_fd: *number,
        });
    command
        .fd_mappings(mappings.collect())
        .map_err(SpawnError::Collision)?;
    command.spawn().map_err(|source| SpawnError::Exec {
        program: program.clone(),
        source,
    })
}

fn prepare_child(parent: Pid, affinity: Option<&CpuSet>, memlock: Option<u64>) -> io::Result<()> {
    setsid()?;
    // Whatever a container runtime left open is not for QEMU; the request's files are put in place after this.
    // SAFETY: a plain system call on numbers; marking every file close-on-exec invalidates none. std and nix have
    // no wrapper.
    if unsafe {
        libc::close_range(
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC.cast_signed(),
        )
    } != 0
    {
        return Err(io::Error::last_os_error());
    }
    // PID 1 blocks its signals for signalfd; the mask would be handed on and QEMU would never see TERM.
    SigSet::empty().thread_set_mask()?;
    if let Some(cpus) = affinity {
        numa::affinity::set(numa::Tid::current(), cpus).map_err(io::Error::other)?;
    }
    if let Some(bytes) = memlock {
        setrlimit(Resource::RLIMIT_MEMLOCK, bytes, bytes)?;
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // The VNC socket is one that QEMU makes itself.
    umask(Mode::from_bits_truncate(0o077));
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have gone before that took effect (prctl(2)).
    if getppid() != parent {
        return Err(io::Error::other("PID 1 ended meanwhile"));
    }
    Ok(())
}

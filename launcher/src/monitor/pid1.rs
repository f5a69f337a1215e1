//! The loop of PID 1.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::channel::{Channel, ChannelError, Packet};
use super::pidfd::pidfd_open;
use super::protocol::{Ask, ExitStatus, Tell, VERSION};
use super::spawn::{self, SpawnError};
use crate::privileges;

/// Where the supervisor finds its end of the channel.
pub const CHANNEL_FD: i32 = 3;

/// How long QEMU has for its own end once nobody supervises it.
const ORPHAN_GRACE_MS: u16 = 3000;

/// PID 1's own failures; each ends the pod.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// A system call on which everything rests failed.
    #[error("PID 1 cannot {what}")]
    System {
        /// In words.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Capabilities did not fall.
    #[error("PID 1 cannot give up its privileges")]
    Privileges(#[from] privileges::PrivilegeError),
    /// The supervisor's channel failed.
    #[error("PID 1 cannot talk to the supervisor")]
    Channel(#[from] ChannelError),
}

fn failed(what: &'static str) -> impl Fn(Errno) -> MonitorError {
    move |errno| MonitorError::System {
        what,
        source: errno.into(),
    }
}

/// What ended the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The supervisor ended by itself: its exit code is the pod's.
    Supervisor(u8),
    /// A signal ended the supervisor; QEMU was ended after it.
    Lost(i32),
}

/// Blocks the signals that PID 1 reads by signalfd. First of all things, so that none is lost: a blocked signal
/// waits even for a PID 1, which otherwise ignores what it has no handler for (`pid_namespaces(7)`).
pub fn block_signals() -> Result<SigSet, MonitorError> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ] {
        signals.add(signal);
    }
    signals
        .thread_block()
        .map_err(failed("block its signals"))?;
    Ok(signals)
}

/// Runs the pod: `supervisor` is this program with the arguments of its other half.
pub fn run(supervisor: Command) -> Result<Verdict, MonitorError> {
    let signals = block_signals()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("make a signalfd"))?;
    let (channel, theirs) = Channel::pair().map_err(failed("make a socketpair"))?;
    let supervisor = start_supervisor(supervisor, theirs)?;
    privileges::drop_all()?;
    let mut pid1 = Pid1 {
        channel,
        supervisor,
        qemu: None,
        files: Vec::new(),
        verdict: None,
    };
    while pid1.verdict.is_none() {
        pid1.wait(&signals)?;
    }
    pid1.end_qemu();
    Ok(pid1.verdict.unwrap_or(Verdict::Lost(0)))
}

fn start_supervisor(mut command: Command, theirs: Channel) -> Result<Child, MonitorError> {
    let what = "start the supervisor";
    let end = theirs
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| MonitorError::System { what, source })?;
    command
        .process_group(0)
        .fd_mappings(vec![FdMapping {
            parent_fd: end,
            child_fd: CHANNEL_FD,
        }])
        .map_err(|collision| MonitorError::System {
            what,
            source: io::Error::other(collision),
        })?;
    command
        .spawn()
        .map_err(|source| MonitorError::System { what, source })
}

struct Pid1 {
    channel: Channel,
    supervisor: Child,
    qemu: Option<Child>,
    /// Files that came ahead of their spawn request.
    files: Vec<OwnedFd>,
    verdict: Option<Verdict>,
}

impl Pid1 {
    fn wait(&mut self, signals: &SignalFd) -> Result<(), MonitorError> {
        let mut ready = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let [signal, message] = ready.map(|entry| entry.revents().unwrap_or(PollFlags::empty()));
        if message.contains(PollFlags::POLLIN) {
            self.hear();
        } else if !message.is_empty() {
            // The supervisor closed its end or died: its exit status follows; until then there is nothing to hear.
            self.await_supervisor();
        }
        if signal.contains(PollFlags::POLLIN) {
            while let Ok(Some(information)) = signals.read_signal() {
                self.signalled(i32::try_from(information.ssi_signo).unwrap_or(0));
            }
        }
        Ok(())
    }

    fn hear(&mut self) {
        match self.channel.receive::<Ask>() {
            Ok(Packet {
                message: Ask::Files,
                files,
            }) => self.files.extend(files),
            Ok(Packet {
                message: Ask::Spawn { version },
                files,
            }) => {
                self.files.extend(files);
                self.spawn(version);
            }
            Err(ChannelError::Closed) => self.await_supervisor(),
            Err(error) => {
                tracing::error!(event = "channel-garbled", error = %error, "a packet was dropped")
            }
        }
    }

    fn spawn(&mut self, version: u32) {
        let mut files = std::mem::take(&mut self.files);
        let spawned = if version != VERSION {
            Err(format!(
                "PID 1 speaks version {VERSION} and was asked in version {version}"
            ))
        } else if self.qemu.is_some() {
            Err("QEMU runs already".to_owned())
        } else if files.is_empty() {
            Err("the spawn request did not arrive".to_owned())
        } else {
            let memfd = files.remove(0);
            spawn::read_request(memfd)
                .and_then(|request| spawn::spawn(&request, files))
                .map_err(describe)
        };
        let told = match spawned {
            Ok(child) => self.tell_spawned(child),
            Err(reason) => self.channel.send(&Tell::SpawnFailed { reason }, &[]),
        };
        if let Err(error) = told {
            tracing::error!(event = "channel-failed", error = %error, "the supervisor cannot be told");
        }
    }

    fn tell_spawned(&mut self, child: Child) -> Result<(), ChannelError> {
        let pid = pid_of(&child);
        self.qemu = Some(child);
        let pidfd = pidfd_open(pid).map_err(|source| ChannelError::Socket {
            what: "open a pidfd to send",
            source,
        })?;
        self.channel
            .send(&Tell::Spawned { pid: pid.as_raw() }, &[pidfd.as_fd()])
    }

    fn signalled(&mut self, number: i32) {
        match Signal::try_from(number) {
            Ok(Signal::SIGCHLD) => self.reap(),
            Ok(_) => {
                if self.channel.send(&Tell::Signal { number }, &[]).is_err() {
                    self.await_supervisor();
                }
            }
            Err(_) => {}
        }
    }

    /// Takes every child that has ended, ours or an orphan's.
    fn reap(&mut self) {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, ExitStatus::Signal(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            self.ended(pid, status);
        }
    }

    fn ended(&mut self, pid: Pid, status: ExitStatus) {
        if pid == pid_of(&self.supervisor) {
            self.verdict = Some(match status {
                ExitStatus::Code(code) => {
                    Verdict::Supervisor(u8::try_from(code).unwrap_or(u8::MAX))
                }
                ExitStatus::Signal(number) => Verdict::Lost(number),
            });
        } else if self.qemu.as_ref().is_some_and(|child| pid == pid_of(child)) {
            self.qemu = None;
            // A supervisor that is gone too needs no word.
            let _gone = self.channel.send(&Tell::Exited { status }, &[]);
        }
    }

    /// The channel is closed, so the supervisor is on its way out.
    fn await_supervisor(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let status = match self.supervisor.wait() {
            Ok(status) => status.code().map_or(
                ExitStatus::Signal(status.signal().unwrap_or(0)),
                ExitStatus::Code,
            ),
            Err(_) => return self.reap(),
        };
        self.ended(pid_of(&self.supervisor), status);
    }

    /// Nobody supervises QEMU any more: TERM, then KILL.
    fn end_qemu(&mut self) {
        let Some(child) = self.qemu.take() else {
            return;
        };
        let pid = pid_of(&child);
        tracing::warn!(
            event = "qemu-orphaned",
            pid = pid.as_raw(),
            "the supervisor is gone; ending QEMU"
        );
        let _gone = kill(pid, Signal::SIGTERM);
        // SIGSTOPped or hung, it does not hear TERM.
        let _gone = kill(pid, Signal::SIGCONT);
        if let Ok(pidfd) = pidfd_open(pid) {
            let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _timed_out = poll(&mut ended, PollTimeout::from(ORPHAN_GRACE_MS));
        }
        let _gone = kill(pid, Signal::SIGKILL);
        let _reaped = waitid(Id::Pid(pid), WaitPidFlag::WEXITED);
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn describe(error: SpawnError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

//! The supervisor as PID 1 knows it: a child, a channel, a few facts.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::channel::{Channel, ChannelError, Packet};
use super::handover::{self, HandedSupervisor, HandoverError, Passed};
use super::pid1::CHANNEL_FD;
use super::protocol::{Ask, Tell};

/// A second signal skips the wait, a third kills; more say nothing new, and a supervisor that is stopped must not
/// have its channel filled.
const SIGNALS_TOLD: u32 = 8;

/// One supervisor, from its start until it is reaped.
#[derive(Debug)]
pub struct Supervisor {
    pid: Pid,
    channel: Channel,
    /// When it was started.
    pub started: Instant,
    /// When it had the VM in hand.
    pub ready: Option<Instant>,
    signals_told: u32,
    /// It closed its end: it has died, or may as well.
    closed: bool,
}

impl Supervisor {
    /// Starts one; `signals` are those that its greeting tells.
    pub fn start(mut command: Command, signals: u32) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let end = theirs.as_fd().try_clone_to_owned()?;
        command
            .process_group(0)
            .fd_mappings(vec![FdMapping {
                parent_fd: end,
                child_fd: CHANNEL_FD,
            }])
            .map_err(io::Error::other)?;
        Ok(Self {
            // Reaped by number, as all children of PID 1.
            pid: Pid::from_raw(command.spawn()?.id().cast_signed()),
            channel,
            started: Instant::now(),
            ready: None,
            signals_told: signals,
            closed: false,
        })
    }

    /// For the next program of PID 1.
    pub fn hand_over(&self, passed: &mut Passed) -> Result<HandedSupervisor, HandoverError> {
        Ok(HandedSupervisor {
            pid: self.pid.as_raw(),
            channel: passed.file(self.channel.as_fd())?,
            started_ago: handover::ago(self.started),
            ready_ago: self.ready.map(handover::ago),
            signals_told: self.signals_told,
        })
    }

    /// From the former program of PID 1.
    pub fn taken_over(handed: &HandedSupervisor) -> Result<Self, HandoverError> {
        Ok(Self {
            pid: Pid::from_raw(handed.pid),
            channel: Channel::from_socket(handover::file(handed.channel)?),
            started: handover::before(handed.started_ago),
            ready: handed.ready_ago.map(handover::before),
            signals_told: handed.signals_told,
            closed: false,
        })
    }

    /// In the pod's PID namespace; its own until it is reaped.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// For `poll`, while there may be something to hear.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed).then(|| self.channel.as_fd())
    }

    /// Says something. One that is gone needs no word: the next one's greeting tells it.
    pub fn tell(&self, message: &Tell, files: &[BorrowedFd<'_>]) {
        match self.channel.send(message, files) {
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => {
                tracing::error!(event = "channel-failed", error = %error, "the supervisor cannot be told");
            }
        }
    }

    /// Tells of a signal, unless it has heard of enough.
    pub fn tell_signal(&mut self, number: i32) {
        if self.signals_told < SIGNALS_TOLD {
            self.signals_told += 1;
            self.tell(&Tell::Signal { number }, &[]);
        }
    }

    /// The next thing that it said, if there is one. After its end this answers nothing.
    pub fn heard(&mut self) -> Option<Packet<Ask>> {
        while !self.closed {
            match self.channel.try_receive() {
                Ok(packet) => return packet,
                Err(error @ ChannelError::Garbled(_)) => {
                    tracing::error!(event = "channel-garbled", error = %error, "a packet was dropped");
                }
                Err(_) => self.closed = true,
            }
        }
        None
    }

    /// Whether its channel is closed: without it, it is of no use.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Ends it. It must not have been reaped.
    pub fn kill(&mut self) {
        self.closed = true;
        let _gone = kill(self.pid(), Signal::SIGKILL);
    }
}

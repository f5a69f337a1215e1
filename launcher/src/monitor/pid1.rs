//! The loop of PID 1.

mod asked;
mod deadlines;
mod swap;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::guest::Guest;
use super::handover::{Handover, HandoverError};
use super::pidfd::reap_one;
use super::protocol::{ExitStatus, Hello, Swap, Tell, VERSION};
use super::restart::{Deaths, Restart};
use super::supervisor::Supervisor;
use super::vault::Vault;
use crate::privileges;
use swap::Swapping;
pub use swap::rehearsed;

/// Where the supervisor finds its end of the channel.
pub const CHANNEL_FD: i32 = 3;

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
    /// The former program left nothing that this one can take up.
    #[error("PID 1 cannot be taken over")]
    Handover(#[from] HandoverError),
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
    /// A supervisor saw the VM's end: its exit code is the pod's.
    Done(u8),
    /// The supervisor died and there is nothing that another one could take up.
    Lost(ExitStatus),
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

/// Runs the pod. `arguments` are those with which this program's other half is started.
/// `landlock` is what confines this process.
pub fn run(arguments: Vec<String>, landlock: Option<i32>) -> Result<Verdict, MonitorError> {
    let signals = listen_to_signals()?;
    let mut pid1 = Pid1::new(arguments, landlock);
    pid1.start_when_due()?;
    // The first supervisor has what PID 1 had; QEMU and all later ones, children from now on, never have any.
    privileges::drop_all()?;
    pid1.live(&signals)
}

/// Goes on with the pod that another program of PID 1 ran until its exec.
pub fn resume(handed: Handover) -> Result<Verdict, MonitorError> {
    let signals = listen_to_signals()?;
    let former = handed.program.clone();
    let mut pid1 = Pid1::taken_over(handed)?;
    pid1.announce(&former);
    // SIGCHLD of before the exec is pending still, as it is blocked; that of an ignored one would not be.
    pid1.reap();
    pid1.live(&signals)
}

/// As [`resume`], in a child and without doing anything: the kept file of that name, and the supervisors' arguments.
pub fn rehearse(
    handed: Handover,
    kept: &str,
) -> Result<(Option<OwnedFd>, Vec<String>), MonitorError> {
    let _signals = listen_to_signals()?;
    let pid1 = Pid1::taken_over(handed)?;
    let kept = pid1.kept(kept).transpose();
    let what = "take a kept file";
    let kept = kept.map_err(|source| MonitorError::System { what, source })?;
    Ok((kept, pid1.arguments))
}

fn listen_to_signals() -> Result<SignalFd, MonitorError> {
    let signals = block_signals()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("make a signalfd"))
}

struct Next {
    at: Instant,
    minimal: bool,
}

/// How often the pod was asked to end, and since when.
#[derive(Default)]
struct Ending {
    signals: u32,
    first: Option<Instant>,
}

struct Pid1 {
    arguments: Vec<String>,
    landlock: Option<i32>,
    supervisor: Option<Supervisor>,
    deaths: Deaths,
    restarts: u32,
    starts: u32,
    /// When the next supervisor starts.
    next: Option<Next>,
    guest: Option<Guest>,
    /// Files that came ahead of their spawn request.
    files: Vec<OwnedFd>,
    vault: Vault,
    settled: bool,
    ending: Ending,
    verdict: Option<Verdict>,
    swap: Option<Swapping>,
    swap_told: Option<Swap>,
}

impl Pid1 {
    fn new(arguments: Vec<String>, landlock: Option<i32>) -> Self {
        Self {
            arguments,
            landlock,
            supervisor: None,
            deaths: Deaths::default(),
            restarts: 0,
            starts: 0,
            next: Some(Next {
                at: Instant::now(),
                minimal: false,
            }),
            guest: None,
            files: Vec::new(),
            vault: Vault::default(),
            settled: false,
            ending: Ending::default(),
            verdict: None,
            swap: None,
            swap_told: None,
        }
    }

    fn live(&mut self, signals: &SignalFd) -> Result<Verdict, MonitorError> {
        while !self.is_over() {
            self.wait(signals)?;
            self.become_the_next();
            if let Err(error) = self.start_when_due() {
                // Out of memory or processes, as a whole machine can be: the guest need not pay for it.
                tracing::error!(event = "supervisor-not-started", error = %error, "trying again");
                self.supervisor_ended(ExitStatus::Code(-1), None);
            }
            self.keep_deadlines();
        }
        Ok(self.verdict.unwrap_or(Verdict::Lost(ExitStatus::Code(-1))))
    }

    fn is_over(&self) -> bool {
        self.verdict.is_some() && self.guest.as_ref().is_none_or(Guest::is_gone)
    }

    fn start_when_due(&mut self) -> Result<(), MonitorError> {
        let due = |next: &Next| next.at <= Instant::now();
        if self.verdict.is_some() || !self.next.as_ref().is_some_and(due) {
            return Ok(());
        }
        let minimal = self.next.take().is_some_and(|next| next.minimal);
        let mut command = Command::new(self.program());
        command.arg("supervise").args(&self.arguments);
        let supervisor = Supervisor::start(command, self.ending.signals).map_err(|source| {
            let what = "start the supervisor";
            MonitorError::System { what, source }
        })?;
        self.greet(&supervisor, minimal);
        self.starts = self.starts.saturating_add(1);
        self.supervisor = Some(supervisor);
        Ok(())
    }

    fn greet(&self, supervisor: &Supervisor, minimal: bool) {
        let hello = Hello {
            version: VERSION,
            restarts: self.restarts,
            minimal,
            qemu: self.guest.as_ref().map(Guest::told),
            settled: self.settled,
            signals: self.ending.signals,
            kept: self.vault.names(),
            starts: self.starts,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            landlock: self.landlock,
            swap: self.swap_told.clone(),
        };
        let pidfd = self.guest.iter().map(Guest::pidfd);
        let files: Vec<_> = pidfd.chain(self.vault.files()).collect();
        supervisor.tell(&Tell::Hello(hello), &files);
    }

    fn wait(&mut self, signals: &SignalFd) -> Result<(), MonitorError> {
        let timeout = self.until_next_deadline();
        let mut ready = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let channel = self.supervisor.as_ref().and_then(Supervisor::readable);
        ready.extend(channel.map(|channel| PollFd::new(channel, PollFlags::POLLIN)));
        match poll(&mut ready, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let none = PollFlags::empty();
        let happened = |index| ready.get(index).and_then(PollFd::revents).unwrap_or(none);
        let (signal, message) = (happened(0), happened(1));
        drop(ready);
        if !message.is_empty() {
            self.hear();
            if let Some(supervisor) = self.supervisor.as_mut().filter(|one| one.is_closed()) {
                // Mostly it is dead already, and waits to be reaped.
                supervisor.kill();
            }
        }
        if signal.contains(PollFlags::POLLIN) {
            while let Ok(Some(information)) = signals.read_signal() {
                self.signalled(i32::try_from(information.ssi_signo).unwrap_or(0));
            }
        }
        Ok(())
    }

    fn signalled(&mut self, number: i32) {
        match Signal::try_from(number) {
            Ok(Signal::SIGCHLD) => self.reap(),
            Ok(_) => {
                self.ending.signals = self.ending.signals.saturating_add(1);
                self.ending.first.get_or_insert_with(Instant::now);
                if let Some(supervisor) = &mut self.supervisor {
                    supervisor.tell_signal(number);
                }
            }
            Err(_) => {}
        }
    }

    /// Takes every child that has ended, ours or an orphan's.
    fn reap(&mut self) {
        loop {
            match reap_one() {
                Some((pid, status)) => self.ended(pid, status),
                None => return,
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: ExitStatus) {
        if self.rehearsal_ended(pid, status) {
            return;
        }
        let supervisor = self.supervisor.as_ref();
        if supervisor.is_some_and(|one| pid == one.pid()) {
            // What it said last still counts.
            self.hear();
            let ready = self.supervisor.take().and_then(|one| one.ready);
            self.supervisor_ended(status, ready);
        } else if let Some(guest) = &mut self.guest
            && guest.told().pid == pid.as_raw()
        {
            guest.exited(status);
            let overdue = guest.was_overdue();
            if let Some(supervisor) = supervisor {
                supervisor.tell(&Tell::Exited { status, overdue }, &[]);
            }
        }
    }

    fn supervisor_ended(&mut self, status: ExitStatus, ready: Option<Instant>) {
        self.files.clear();
        if self.verdict.is_none() && !self.end_was_of_swap(status) {
            self.supervisor_died(status, ready);
        }
    }

    fn supervisor_died(&mut self, status: ExitStatus, ready: Option<Instant>) {
        let Restart { after, minimal } = self.deaths.died(status, ready.map(|at| at.elapsed()));
        let runs = self.guest.as_ref().is_some_and(|guest| !guest.is_gone());
        if self.guest.is_none() || (minimal && !runs) {
            // No guest to keep, and a start takes privileges that are gone.
            return self.conclude(Verdict::Lost(status));
        }
        self.restarts = self.restarts.saturating_add(1);
        tracing::warn!(
            event = "supervisor-died",
            status = %status,
            restarts = self.restarts,
            minimal,
            after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            "the supervisor died ({status}), the guest runs on; the next supervisor starts{}",
            match after.is_zero() {
                true => String::new(),
                false => format!(" in {after:?}"),
            }
        );
        self.next = Some(Next {
            at: Instant::now() + after,
            minimal,
        });
    }

    fn conclude(&mut self, verdict: Verdict) {
        if self.verdict.is_none() {
            self.verdict = Some(verdict);
            if let Some(guest) = &mut self.guest {
                guest.end();
            }
        }
    }
}

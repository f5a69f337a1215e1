//! The loop of PID 1.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::channel::Packet;
use super::guest::Guest;
use super::pidfd::reap_one;
use super::protocol::{Ask, ExitStatus, Hello, Tell, VERSION};
use super::restart::{Deaths, Restart};
use super::supervisor::Supervisor;
use super::vault::Vault;
use crate::privileges;

/// Where the supervisor finds its end of the channel.
pub const CHANNEL_FD: i32 = 3;

/// How long a supervisor has to tell the end of a QEMU that is gone: by itself, and where PID 1 had to end it, since the
/// kubelet kills the pod 15 s after the guest's own time (facts 2.6).
const LAST_WORD: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(2)];
/// How long a supervisor that was told to end has where there is no QEMU.
const END_WITHOUT_QEMU: Duration = Duration::from_secs(10);

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

/// Runs the pod. `supervisor` makes the command of this program's other half.
pub fn run(supervisor: impl Fn() -> Command) -> Result<Verdict, MonitorError> {
    let signals = block_signals()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("make a signalfd"))?;
    let mut pid1 = Pid1 {
        supervisor: None,
        deaths: Deaths::default(),
        restarts: 0,
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
    };
    pid1.start_when_due(&supervisor)?;
    // The first supervisor has what PID 1 had; QEMU and all later ones, children from now on, never have any.
    privileges::drop_all()?;
    while !pid1.is_over() {
        pid1.wait(&signals)?;
        if let Err(error) = pid1.start_when_due(&supervisor) {
            // Out of memory or processes, as a whole machine can be: the guest need not pay for it.
            tracing::error!(event = "supervisor-not-started", error = %error, "trying again");
            pid1.supervisor_died(ExitStatus::Code(-1), None);
        }
        pid1.keep_deadlines();
    }
    Ok(pid1.verdict.unwrap_or(Verdict::Lost(ExitStatus::Code(-1))))
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
    supervisor: Option<Supervisor>,
    deaths: Deaths,
    restarts: u32,
    /// When the next supervisor starts.
    next: Option<Next>,
    guest: Option<Guest>,
    /// Files that came ahead of their spawn request.
    files: Vec<OwnedFd>,
    vault: Vault,
    settled: bool,
    ending: Ending,
    verdict: Option<Verdict>,
}

impl Pid1 {
    fn is_over(&self) -> bool {
        self.verdict.is_some() && self.guest.as_ref().is_none_or(Guest::is_gone)
    }

    fn start_when_due(&mut self, command: &impl Fn() -> Command) -> Result<(), MonitorError> {
        let due = |next: &Next| next.at <= Instant::now();
        if self.verdict.is_some() || !self.next.as_ref().is_some_and(due) {
            return Ok(());
        }
        let minimal = self.next.take().is_some_and(|next| next.minimal);
        let supervisor = Supervisor::start(command(), self.ending.signals).map_err(|source| {
            let what = "start the supervisor";
            MonitorError::System { what, source }
        })?;
        self.greet(&supervisor, minimal);
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

    /// Takes all that the supervisor has said so far.
    fn hear(&mut self) {
        while let Some(packet) = self.supervisor.as_mut().and_then(Supervisor::heard) {
            self.asked(packet);
        }
    }

    fn asked(&mut self, packet: Packet<Ask>) {
        let Packet { message, files } = packet;
        match message {
            Ask::Files => self.files.extend(files),
            Ask::Spawn { version } => {
                self.files.extend(files);
                self.spawn(version);
            }
            Ask::Keep { name } => {
                for file in files.into_iter().take(1) {
                    if !self.vault.keep(name.clone(), file) {
                        tracing::error!(
                            event = "file-not-kept",
                            name,
                            "PID 1 keeps too many files"
                        );
                    }
                }
            }
            Ask::Settled => self.settled = true,
            Ask::Ready => {
                if let Some(supervisor) = &mut self.supervisor {
                    supervisor.ready.get_or_insert_with(Instant::now);
                }
            }
            Ask::Done { code } => self.conclude(Verdict::Done(code)),
        }
    }

    fn spawn(&mut self, version: u32) {
        let mut files = std::mem::take(&mut self.files);
        let spawned = if version != VERSION {
            Err(format!(
                "PID 1 speaks version {VERSION} and was asked in version {version}"
            ))
        } else if self.guest.is_some() {
            Err("QEMU was started already".to_owned())
        } else if files.is_empty() {
            Err("the spawn request did not arrive".to_owned())
        } else {
            let memfd = files.remove(0);
            Guest::start(memfd, files)
        };
        let Some(supervisor) = &self.supervisor else {
            return;
        };
        match spawned {
            Ok(guest) => {
                let guest = self.guest.insert(guest);
                let pid = guest.told().pid;
                supervisor.tell(&Tell::Spawned { pid }, &[guest.pidfd()]);
            }
            Err(reason) => supervisor.tell(&Tell::SpawnFailed { reason }, &[]),
        }
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
        let supervisor = self.supervisor.as_ref();
        if supervisor.is_some_and(|one| pid == one.pid()) {
            // What it said last still counts.
            self.hear();
            let ready = self.supervisor.take().and_then(|one| one.ready);
            self.supervisor_died(status, ready);
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

    fn supervisor_died(&mut self, status: ExitStatus, ready: Option<Instant>) {
        self.files.clear();
        if self.verdict.is_some() {
            return;
        }
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

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let next = self.next.as_ref().map(|next| next.at);
        let guest = self
            .guest
            .as_ref()
            .and_then(|guest| guest.deadline(self.ending.first));
        [next, guest, self.silence_ends()].into_iter().flatten()
    }

    /// When a supervisor that has nothing left to do but to say so is taken for hung.
    fn silence_ends(&self) -> Option<Instant> {
        let supervisor = self.supervisor.as_ref().filter(|one| !one.is_closed())?;
        match &self.guest {
            Some(guest) => {
                let patience = LAST_WORD[usize::from(guest.was_overdue())];
                Some(guest.gone_since()?.max(supervisor.started) + patience)
            }
            None => Some(self.ending.first? + END_WITHOUT_QEMU),
        }
    }

    fn until_next_deadline(&self) -> PollTimeout {
        let Some(next) = self.deadlines().min() else {
            return PollTimeout::NONE;
        };
        // Rounded up: one that ends early would find nothing due and spin.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn keep_deadlines(&mut self) {
        let now = Instant::now();
        if let Some(guest) = &mut self.guest {
            guest.keep_deadline(self.ending.first, now);
        }
        if self.silence_ends().is_some_and(|at| at <= now)
            && let Some(supervisor) = &mut self.supervisor
        {
            tracing::error!(
                event = "supervisor-hung",
                "the supervisor says nothing; it is killed"
            );
            supervisor.kill();
        }
    }
}

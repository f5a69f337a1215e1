//! QEMU as PID 1 knows it: a number, a handle, an end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::handover::{self, HandedGuest, HandoverError, Passed};
use super::pidfd::{pidfd_open, pidfd_signal};
use super::protocol::{ExitStatus, QemuProcess};
use super::spawn::{self, SpawnError};

/// How long QEMU has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(3);

/// QEMU, from its start on; it stays when QEMU is gone.
#[derive(Debug)]
pub struct Guest {
    pid: Pid,
    pidfd: OwnedFd,
    /// After the pod was asked to end.
    end_after: Option<Duration>,
    /// TERM was sent; KILL follows then.
    kill_at: Option<Instant>,
    overdue: bool,
    exit: Option<(ExitStatus, Instant)>,
}

impl Guest {
    /// Starts QEMU from the request in `memfd` and its files; the error is for the supervisor to tell.
    pub fn start(memfd: OwnedFd, files: Vec<OwnedFd>) -> Result<Self, String> {
        let request = spawn::read_request(memfd).map_err(describe)?;
        let child = spawn::spawn(&request, files).map_err(describe)?;
        let end_after = request.end_after_ms.map(Duration::from_millis);
        Self::new(Pid::from_raw(child.id().cast_signed()), end_after)
            .map_err(|errno| format!("QEMU runs and no pidfd can be had: {errno}"))
    }

    /// The child that has just been started. One that nobody could name later is killed.
    fn new(pid: Pid, end_after: Option<Duration>) -> Result<Self, Errno> {
        let pidfd = pidfd_open(pid).inspect_err(|_| {
            // It is our child and not reaped yet, so the number is its own.
            let _gone = kill(pid, Signal::SIGKILL);
        })?;
        Ok(Self {
            pid,
            pidfd,
            end_after,
            kill_at: None,
            overdue: false,
            exit: None,
        })
    }

    /// For the next program of PID 1.
    pub fn hand_over(&self, passed: &mut Passed) -> Result<HandedGuest, HandoverError> {
        Ok(HandedGuest {
            process: self.told(),
            pidfd: passed.file(self.pidfd.as_fd())?,
            end_after: self
                .end_after
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            kill_in: self.kill_at.map(handover::ahead),
            gone_ago: self.gone_since().map(handover::ago),
        })
    }

    /// From the former program of PID 1.
    pub fn taken_over(handed: &HandedGuest) -> Result<Self, HandoverError> {
        let gone = handover::before(handed.gone_ago.unwrap_or(0));
        Ok(Self {
            pid: Pid::from_raw(handed.process.pid),
            pidfd: handover::file(handed.pidfd)?,
            end_after: handed.end_after.map(Duration::from_millis),
            kill_at: handed.kill_in.map(handover::after),
            overdue: handed.process.overdue,
            exit: handed.process.exit.map(|status| (status, gone)),
        })
    }

    /// For supervisors.
    pub fn told(&self) -> QemuProcess {
        QemuProcess {
            pid: self.pid.as_raw(),
            exit: self.exit.map(|(status, _)| status),
            overdue: self.overdue,
        }
    }

    /// For supervisors.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// It was reaped.
    pub fn exited(&mut self, status: ExitStatus) {
        self.exit = Some((status, Instant::now()));
    }

    /// It has ended.
    pub fn is_gone(&self) -> bool {
        self.exit.is_some()
    }

    /// Since when.
    pub fn gone_since(&self) -> Option<Instant> {
        self.exit.map(|(_, at)| at)
    }

    /// PID 1 itself ended it, since nobody else had.
    pub fn was_overdue(&self) -> bool {
        self.overdue
    }

    /// TERM now, KILL soon.
    pub fn end(&mut self) {
        if self.is_gone() || self.kill_at.is_some() {
            return;
        }
        tracing::warn!(
            event = "qemu-ended",
            pid = self.pid.as_raw(),
            "PID 1 ends QEMU"
        );
        self.signal(Signal::SIGTERM);
        // SIGSTOPped, it does not hear TERM.
        self.signal(Signal::SIGCONT);
        self.kill_at = Some(Instant::now() + GRACE);
    }

    /// What PID 1 must not sleep past; `asked` is when the pod was first asked to end.
    pub fn deadline(&self, asked: Option<Instant>) -> Option<Instant> {
        if self.is_gone() {
            return None;
        }
        self.kill_at.or(Some(asked? + self.end_after?))
    }

    /// Does what is due.
    pub fn keep_deadline(&mut self, asked: Option<Instant>, now: Instant) {
        if self.deadline(asked).is_none_or(|at| at > now) {
            return;
        }
        match self.kill_at {
            None => {
                self.overdue = true;
                self.end();
            }
            Some(_) => {
                self.signal(Signal::SIGKILL);
                // Until it is reaped: a process in the kernel's hands (state D) dies when they let go.
                self.kill_at = Some(now + GRACE);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let _gone = pidfd_signal(self.pidfd.as_fd(), signal);
    }
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

//! An upgrade in place: another program takes over, the supervisor's half first and PID 1's when that one has the VM in hand.
//!
//! ```text
//!  Upgrade ─► Rehearsal ─► MakingWay ─► Trial ─► exec: PID 1 is the new program
//!                │ it fails,             │ it dies, or has not the VM in hand in time
//!                ▼ or hangs              ▼
//!            the old goes on         RollingBack ─► the old supervisor's program again
//! ```
//!
//! The rehearsal runs in a child on the very handover that PID 1 would leave (`resume --rehearse`): what cannot take over
//! is known before anything has happened. From the exec on there is no way back, so that it comes last.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, execv};

use super::{Next, Pid1};
use crate::monitor::guest::Guest;
use crate::monitor::handover::{self, Handover, HandoverError, Passed, program_path};
use crate::monitor::protocol::{ExitStatus, Stage, Swap, Tell};
use crate::monitor::restart::Deaths;
use crate::monitor::supervisor::Supervisor;
use crate::monitor::vault::Vault;

/// To read one document.
const REHEARSAL: Duration = Duration::from_secs(10);
/// To end.
const MAKING_WAY: Duration = Duration::from_secs(5);
/// To find QEMU.
const TRIAL: Duration = Duration::from_secs(30);
/// Of what a failed rehearsal said.
const LONGEST_WORD: usize = 300;

/// An upgrade under way.
#[derive(Debug)]
pub(super) enum Swapping {
    /// A child of the new program takes the handover, and ends.
    Rehearsal {
        program: OwnedFd,
        child: Pid,
        said: File,
        until: Instant,
    },
    /// The old supervisor was told to end.
    MakingWay { program: OwnedFd, until: Instant },
    /// The new supervisor has to take the VM in hand.
    Trial { program: OwnedFd, until: Instant },
    /// It has.
    Proven { program: OwnedFd },
    /// The new supervisor was killed, and the old program's follows.
    RollingBack,
}

/// What a rehearsal that went well says last.
pub fn rehearsed(id: &str) -> String {
    format!("rehearsed {id}")
}

impl Swapping {
    /// When it fails by itself.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Rehearsal { until, .. }
            | Self::MakingWay { until, .. }
            | Self::Trial { until, .. } => Some(*until),
            Self::Proven { .. } | Self::RollingBack => None,
        }
    }
}

impl Pid1 {
    /// The supervisor that is started next is of this program.
    pub(super) fn program(&self) -> String {
        match &self.swap {
            Some(Swapping::Trial { program, .. }) => program_path(program.as_fd()),
            _ => numa::HostRoot::default().proc("self/exe").into_string(),
        }
    }

    /// [`crate::monitor::protocol::Ask::Upgrade`].
    pub(super) fn upgrade(&mut self, id: String, program: Option<OwnedFd>) {
        let busy = match (&self.swap, &self.guest) {
            (Some(_), _) => Some("another upgrade is under way"),
            (None, Some(guest)) if guest.is_gone() => Some("the VM has ended"),
            (None, Some(_)) if !self.settled => Some("the VM is still starting"),
            (None, Some(_)) => None,
            (None, None) => Some("the VM has not started"),
        };
        let word = |stage, reason| Swap { id, stage, reason };
        let (Some(program), None) = (program, busy) else {
            let reason = busy.unwrap_or("the program did not arrive").to_owned();
            // Of an upgrade that is under way nothing changes.
            return self.tell_swap(word(Stage::Failed, Some(reason)));
        };
        self.swap_told = Some(word(Stage::UnderWay, None));
        match self.rehearse(&program) {
            Ok((child, said)) => {
                self.swap = Some(Swapping::Rehearsal {
                    program,
                    child,
                    said,
                    until: Instant::now() + REHEARSAL,
                });
                if let Some(word) = self.swap_told.clone() {
                    self.tell_swap(word);
                }
            }
            Err(error) => self.fail_swap(format!("it cannot be executed: {error}")),
        }
    }

    fn rehearse(&self, program: &OwnedFd) -> io::Result<(Pid, File)> {
        let mut passed = Passed::default();
        let document = self.hand_over(&mut passed).map_err(io::Error::other)?;
        let document = passed.document(&document).map_err(io::Error::other)?;
        // A pipe that nobody reads would stop it, and PID 1 waits for nobody.
        let said = File::from(memfd_create("rehearsal", MFdFlags::MFD_CLOEXEC)?);
        let child = Command::new(program_path(program.as_fd()))
            .args(["resume", "--rehearse", "--handover", &document.to_string()])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .spawn()?;
        Ok((Pid::from_raw(child.id().cast_signed()), said))
    }

    /// Whether `pid` was a rehearsal's.
    pub(super) fn rehearsal_ended(&mut self, pid: Pid, status: ExitStatus) -> bool {
        let (program, mut said) = match self.swap.take() {
            Some(Swapping::Rehearsal {
                program,
                child,
                said,
                ..
            }) if child == pid => (program, said),
            other => {
                self.swap = other;
                return false;
            }
        };
        let lines = words(&mut said);
        let id = self.swap_told.as_ref().map_or("", |swap| swap.id.as_str());
        let last = lines.last().map_or("", String::as_str);
        if !status.success() || last != rehearsed(id) {
            let said = match last {
                "" => "nothing".to_owned(),
                said => format!("`{said}`"),
            };
            self.fail_swap(format!(
                "it is no launcher that can take over: asked to rehearse it ended with {status} and said {said}"
            ));
            return true;
        }
        self.swap = Some(Swapping::MakingWay {
            program,
            until: Instant::now() + MAKING_WAY,
        });
        match &self.supervisor {
            Some(supervisor) => supervisor.tell(&Tell::MakeWay, &[]),
            None => self.start_trial(),
        }
        true
    }

    /// Whether the supervisor's end belongs to an upgrade.
    pub(super) fn end_was_of_swap(&mut self, status: ExitStatus) -> bool {
        match self.swap {
            Some(Swapping::MakingWay { .. }) => self.start_trial(),
            Some(Swapping::Trial { .. } | Swapping::Proven { .. }) => {
                self.fail_swap(format!(
                    "its supervisor ended with {status} before it had the VM in hand"
                ));
                self.start_next();
            }
            Some(Swapping::RollingBack) => {
                self.swap = None;
                self.start_next();
            }
            Some(Swapping::Rehearsal { .. }) | None => return false,
        }
        true
    }

    fn start_trial(&mut self) {
        if let Some(Swapping::MakingWay { program, .. }) = self.swap.take() {
            self.swap = Some(Swapping::Trial {
                program,
                until: Instant::now() + TRIAL,
            });
        }
        self.start_next();
    }

    fn start_next(&mut self) {
        self.next = Some(Next {
            at: Instant::now(),
            minimal: false,
        });
    }

    /// The supervisor has the VM in hand.
    pub(super) fn proven(&mut self) {
        self.swap = match self.swap.take() {
            Some(Swapping::Trial { program, .. }) => Some(Swapping::Proven { program }),
            other => other,
        };
    }

    /// Becomes the new program, if it has shown what it can. Returns only where that is not so.
    pub(super) fn become_the_next(&mut self) {
        if self.verdict.is_some() || !matches!(self.swap, Some(Swapping::Proven { .. })) {
            return;
        }
        let Some(Swapping::Proven { program }) = self.swap.take() else {
            return;
        };
        let error = self.execute(&program);
        self.roll_back(format!("PID 1 cannot become it: {error}"));
    }

    fn execute(&self, program: &OwnedFd) -> io::Error {
        let mut passed = Passed::default();
        let document = self
            .hand_over(&mut passed)
            .and_then(|document| passed.document(&document));
        let document = match document {
            Ok(number) => number.to_string(),
            Err(error) => return io::Error::other(error),
        };
        let word = |text: String| CString::new(text).map_err(io::Error::other);
        let argv = ["virt-launcher", "resume", "--handover", &document];
        let argv: io::Result<Vec<_>> = argv.iter().map(|text| word((*text).to_owned())).collect();
        let executed = word(program_path(program.as_fd()))
            .and_then(|path| argv.map(|argv| (path, argv)))
            .map(|(path, argv)| execv(&path, &argv));
        match executed {
            Ok(Err(errno)) => errno.into(),
            Err(error) => error,
        }
    }

    /// What is overdue is over.
    pub(super) fn keep_swap_deadline(&mut self, now: Instant) {
        let overdue = self.swap.as_ref().and_then(Swapping::until);
        if overdue.is_none_or(|at| at > now) {
            return;
        }
        match self.swap.take() {
            Some(Swapping::Rehearsal { child, .. }) => {
                // Ours and not reaped yet, so the number is its own.
                let _gone = kill(child, Signal::SIGKILL);
                self.fail_swap(format!("its rehearsal took more than {REHEARSAL:?}"));
            }
            Some(Swapping::MakingWay { program, .. }) => {
                self.swap = Some(Swapping::MakingWay {
                    program,
                    until: now + MAKING_WAY,
                });
                if let Some(supervisor) = &mut self.supervisor {
                    supervisor.kill();
                }
            }
            Some(Swapping::Trial { .. }) => self.roll_back(format!(
                "its supervisor had not the VM in hand after {TRIAL:?}"
            )),
            other => self.swap = other,
        }
    }

    fn roll_back(&mut self, reason: String) {
        self.fail_swap(reason);
        match &mut self.supervisor {
            Some(supervisor) => {
                self.swap = Some(Swapping::RollingBack);
                supervisor.kill();
            }
            None => self.start_next(),
        }
    }

    fn fail_swap(&mut self, reason: String) {
        self.swap = None;
        tracing::error!(event = "upgrade-failed", reason, "the old program goes on");
        if let Some(swap) = &mut self.swap_told {
            swap.stage = Stage::Failed;
            swap.reason = Some(reason);
            let word = swap.clone();
            self.tell_swap(word);
        }
    }

    fn tell_swap(&self, word: Swap) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.tell(&Tell::Swap(word), &[]);
        }
    }

    fn hand_over(&self, passed: &mut Passed) -> Result<Handover, HandoverError> {
        let guest = self.guest.as_ref();
        let supervisor = self.supervisor.as_ref().filter(|one| !one.is_closed());
        let mut vault = std::collections::BTreeMap::new();
        for (name, file) in self.vault.all() {
            vault.insert(name.to_owned(), passed.file(file)?);
        }
        Ok(Handover {
            version: handover::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: self.arguments.clone(),
            restarts: self.restarts,
            starts: self.starts,
            deaths: self.deaths.row(),
            settled: self.settled,
            signals: self.ending.signals,
            asked_ago: self.ending.first.map(handover::ago),
            guest: guest.map(|guest| guest.hand_over(passed)).transpose()?,
            supervisor: supervisor.map(|one| one.hand_over(passed)).transpose()?,
            vault,
            landlock: self.landlock,
            swap: self.swap_told.clone(),
        })
    }

    /// PID 1 as the former program left it; nothing is told to anybody yet.
    pub(super) fn taken_over(handed: Handover) -> Result<Self, HandoverError> {
        let mut vault = Vault::default();
        for (name, number) in handed.vault {
            vault.keep(name, handover::file(number)?);
        }
        let mut pid1 = Self::new(handed.arguments, handed.landlock);
        pid1.restarts = handed.restarts;
        pid1.starts = handed.starts;
        pid1.deaths = Deaths::in_a_row(handed.deaths);
        pid1.settled = handed.settled;
        pid1.ending.signals = handed.signals;
        pid1.ending.first = handed.asked_ago.map(handover::before);
        pid1.vault = vault;
        let guest = handed.guest.as_ref().map(Guest::taken_over).transpose()?;
        pid1.guest = guest;
        let supervisor = handed.supervisor.as_ref().map(Supervisor::taken_over);
        pid1.supervisor = supervisor.transpose()?;
        if pid1.supervisor.is_some() {
            pid1.next = None;
        }
        pid1.swap_told = handed.swap;
        Ok(pid1)
    }

    /// The first word of the new program.
    pub(super) fn announce(&mut self, former: &str) {
        if let Some(swap) = &mut self.swap_told {
            swap.stage = Stage::Done;
            let word = swap.clone();
            self.tell_swap(word);
        }
        tracing::info!(
            event = "upgraded",
            from = former,
            to = env!("CARGO_PKG_VERSION"),
            "PID 1 and supervisor are of the new program now; the guest was not touched"
        );
    }

    /// The kept file of that name.
    pub(super) fn kept(&self, name: &str) -> Option<io::Result<OwnedFd>> {
        let (_, file) = self.vault.all().find(|(kept, _)| *kept == name)?;
        Some(file.try_clone_to_owned())
    }
}

/// What a rehearsal said, made safe for a terminal.
fn words(said: &mut File) -> Vec<String> {
    let mut text = Vec::new();
    let _unread = said
        .rewind()
        .and_then(|()| said.take(64 << 10).read_to_end(&mut text));
    let shown = |line: &str| -> String {
        let safe = line.chars().filter(|letter| !letter.is_control());
        safe.take(LONGEST_WORD).collect()
    };
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(shown).collect()
}

//! The state machine of a VM's life: `(State, Input) -> (State, Vec<Action>)`, no clock, no I/O.
//!
//! ```text
//!             Started              Terminate, Shutdown       guest ends, or grace is over
//!  Starting ───────────► Running ───────────────────► Stopping ─────────┐
//!     │                   │ ▲ │  guest powers off, resets, panics; Kill ▼
//!     │         SoftReboot│ │ └──────────────────────────────────────► Quitting ──► Ended
//!     │                   ▼ │ guest resets, or powers off and is reset   ▲  QEMU's exit, always
//!     │                Rebooting ────────────────────────────────────────┤
//!     │ Terminate                                                        │
//!     └──────────────────────────────────────────────────────────────────┘
//!  beside it: `run` (vCPUs run, or why they do not), `frozen` (file systems), `agent` (connected)
//! ```
//!
//! Moved by: the guest (QMP events), people (operations), PID 1 (signals, QEMU's exit status), time (alarms that were
//! asked for). Fails by: an action that cannot be done comes back as `Failed`; `Quitting` has an alarm that kills; a
//! killed QEMU always exits. Every path ends in `Ended`, once, and only QEMU's exit leads there.
//! A supervisor that follows a dead one starts from [`resume::resume`].

mod ending;
pub mod operation;
pub mod resume;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::monitor::protocol::ExitStatus;
use ending::{ended_by, ending};
use operation::Operation;

/// A guest in firmware loses a press, so it is repeated until the guest is gone.
pub const PRESS_AGAIN: Duration = Duration::from_secs(5);
/// QEMU quits within milliseconds unless a disk hangs.
pub const QUIT_DEADLINE: Duration = Duration::from_secs(5);
/// A thaw that failed is tried again.
pub const THAW_AGAIN: Duration = Duration::from_secs(5);
/// A guest that was asked to reboot has this long, or its grace period if that is longer.
pub const REBOOT_DEADLINE: Duration = Duration::from_secs(60);
/// More disks than a VM has.
const MOST_FAILED: usize = 64;

/// What never changes during one VM's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long the guest has to power off.
    pub grace: Duration,
    /// Without ACPI a power button does nothing.
    pub acpi: bool,
    /// `rebootPolicy: Terminate`.
    pub reset_ends: bool,
}

/// Where the VM is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The way through.
    pub phase: Phase,
    /// Whether vCPUs run.
    pub run: Run,
    /// Whether the guest's file systems are frozen.
    pub frozen: Frozen,
    /// The guest agent has its port open.
    pub agent: bool,
    /// Disks that failed since vCPUs ran last.
    pub failed: Vec<IoError>,
    /// What the next `STOP` will have been for.
    pub stopping_for: Option<Pause>,
}

/// The way through a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// QEMU is being set up; the guest has not run.
    Starting,
    /// As it should be.
    Running,
    /// The guest was asked to reboot.
    Rebooting,
    /// The guest was asked to power off.
    Stopping,
    /// QEMU was told to quit.
    Quitting {
        /// What will have been the end.
        because: Outcome,
    },
    /// QEMU is gone.
    Ended(Outcome),
}

/// Whether vCPUs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// They do.
    Running,
    /// They do not.
    Paused(Pause),
}

/// Why vCPUs do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pause {
    /// The guest has not run yet, or waits to be resumed for the first time (`startStrategy: Paused`).
    StartingUp,
    /// Somebody asked for it.
    User,
    /// A disk failed under `errorPolicy: stop`.
    IoError,
    /// The watchdog's action is `pause`.
    Watchdog,
    /// The guest's memory is being dumped.
    Dump,
    /// The guest's end is being dealt with.
    ShuttingDown,
    /// QEMU cannot go on (`internal-error`).
    Crashed,
    /// Nobody told us.
    Unknown,
}

/// Whether the guest's file systems are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frozen {
    /// No.
    No,
    /// They were asked to be.
    Yes,
    /// It is over, and the agent has not confirmed it yet.
    Thawing,
}

/// A disk that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoError {
    /// The VMI's name for it, or QEMU's where it has none.
    pub disk: String,
    /// What is full is not broken.
    pub no_space: bool,
    /// The host's words.
    pub reason: String,
}

/// What happens to the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `cont` was answered, or the guest is left paused as asked.
    Started {
        /// `startStrategy: Paused`.
        paused: bool,
    },
    /// Setting up failed.
    StartFailed,
    /// An action failed.
    Failed(Action),
    /// An action succeeded.
    Did(Action),
    /// QMP `SHUTDOWN`: the guest is gone, QEMU holds still.
    GuestShutdown(ShutdownCause),
    /// QMP `GUEST_PANICKED`.
    GuestPanicked,
    /// QMP `RESET`.
    GuestReset,
    /// QMP `STOP`.
    Paused,
    /// QMP `RESUME`.
    Resumed,
    /// QMP `BLOCK_IO_ERROR`.
    DiskFailed {
        /// Which and how.
        error: IoError,
        /// QEMU is about to pause because of it.
        stops: bool,
    },
    /// QMP `WATCHDOG`.
    Watchdog {
        /// QEMU is about to pause because of it.
        stops: bool,
    },
    /// The guest agent opened or closed its port.
    Agent {
        /// Open.
        connected: bool,
    },
    /// TERM, INT or QUIT.
    Terminate,
    /// Somebody wants something.
    Ask(Operation),
    /// An alarm went off.
    Alarm(Alarm),
    /// The monitor's session ended and cannot be had again.
    MonitorLost,
    /// PID 1 reaped QEMU.
    QemuExited {
        /// How it ended.
        status: ExitStatus,
        /// PID 1 itself had ended it.
        overdue: bool,
    },
}

/// QEMU's `ShutdownCause`, as far as it decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownCause {
    /// `guest-shutdown`, and whatever else a guest does to itself.
    Guest,
    /// `guest-reset` under `-action reboot=shutdown`.
    GuestReset,
    /// `guest-panic`.
    GuestPanic,
    /// `host-*`: our own quit, or a signal to QEMU.
    Host,
}

/// What the driver does; each that can fail answers with `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// QMP `system_powerdown`.
    PressPowerButton,
    /// Agent `guest-shutdown`, mode `powerdown`.
    AskAgentToPowerOff,
    /// Agent `guest-shutdown`, mode `reboot`.
    AskAgentToReboot,
    /// QMP `stop`.
    Pause,
    /// QMP `cont`.
    Resume,
    /// QMP `system_reset`.
    Reset,
    /// Agent `guest-fsfreeze-freeze`.
    Freeze,
    /// Agent `guest-fsfreeze-thaw`.
    Thaw,
    /// QMP `quit`.
    Quit,
    /// SIGKILL by pidfd.
    Kill,
    /// Call back after this time; setting it anew replaces the old one.
    Set(Alarm, Duration),
    /// Forget one alarm.
    Clear(Alarm),
    /// Forget every alarm.
    ClearAlarms,
}

/// What was asked to be called back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    /// Press the power button again.
    PressAgain,
    /// The guest's time is up.
    GraceOver,
    /// QEMU's time is up.
    QuitOverdue,
    /// The guest did not reboot.
    RebootOver,
    /// Frozen file systems are to be thawed.
    Thaw,
}

impl Action {
    /// Whether QEMU or the guest agent is told something, which can fail.
    pub fn is_command(&self) -> bool {
        !matches!(
            self,
            Self::Kill | Self::Set(..) | Self::Clear(_) | Self::ClearAlarms
        )
    }
}

impl State {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self {
            phase: Phase::Starting,
            run: Run::Paused(Pause::StartingUp),
            frozen: Frozen::No,
            agent: false,
            failed: Vec::new(),
            stopping_for: None,
        }
    }

    fn is_paused(&self) -> bool {
        self.run != Run::Running
    }

    fn fail(&mut self, error: IoError) {
        self.failed.retain(|one| one.disk != error.disk);
        if self.failed.len() < MOST_FAILED {
            self.failed.push(error);
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// One step. Total: every input is answered in every state.
pub fn step(terms: &Terms, mut state: State, input: Input) -> (State, Vec<Action>) {
    if matches!(state.phase, Phase::Ended(_)) {
        return (state, vec![]);
    }
    if let Input::QemuExited { status, overdue } = input {
        state.phase = Phase::Ended(ending(state.phase, status, overdue));
        return (state, vec![Action::ClearAlarms]);
    }
    let mut actions = observe(&mut state, &input);
    actions.extend(match state.phase.clone() {
        Phase::Quitting { because } => quitting(&mut state, because, &input),
        phase => match input {
            Input::MonitorLost => kill(&mut state, Outcome::ControlLost),
            Input::GuestShutdown(ShutdownCause::Guest) if phase == Phase::Rebooting => {
                vec![Action::Reset]
            }
            Input::GuestShutdown(cause) => quit(&mut state, ended_by(cause)),
            Input::GuestPanicked => quit(&mut state, Outcome::Panicked),
            Input::Ask(operation) => operation::ask(terms, &mut state, operation),
            input => match phase {
                Phase::Starting => starting(&mut state, &input),
                Phase::Running => running(terms, &mut state, &input),
                Phase::Rebooting => rebooting(terms, &mut state, &input),
                _ => stopping(terms, &mut state, &input),
            },
        },
    });
    (state, actions)
}

/// What is true whatever the phase.
fn observe(state: &mut State, input: &Input) -> Vec<Action> {
    match input {
        Input::Paused => {
            let why = state.stopping_for.take().unwrap_or(Pause::Unknown);
            if !state.is_paused() {
                state.run = Run::Paused(why);
            }
        }
        Input::Resumed => {
            state.run = Run::Running;
            state.stopping_for = None;
            state.failed.clear();
        }
        Input::DiskFailed { error, stops } => {
            state.fail(error.clone());
            if *stops {
                state.stopping_for = Some(Pause::IoError);
            }
        }
        Input::Watchdog { stops: true } => state.stopping_for = Some(Pause::Watchdog),
        Input::GuestShutdown(_) => state.run = Run::Paused(Pause::ShuttingDown),
        Input::Failed(Action::Pause) => state.stopping_for = None,
        Input::GuestReset if state.frozen != Frozen::No => {
            state.frozen = Frozen::No;
            return vec![Action::Clear(Alarm::Thaw)];
        }
        Input::Agent { connected } => {
            state.agent = *connected;
            if state.agent && state.frozen == Frozen::Thawing {
                return vec![Action::Thaw];
            }
        }
        _ => return frozen(state, input),
    }
    vec![]
}

/// A freeze that may have worked ends in a thaw that did.
fn frozen(state: &mut State, input: &Input) -> Vec<Action> {
    match (state.frozen, input) {
        (Frozen::Yes, Input::Failed(Action::Freeze) | Input::Alarm(Alarm::Thaw))
        | (Frozen::Thawing, Input::Alarm(Alarm::Thaw)) => {
            state.frozen = Frozen::Thawing;
            vec![Action::Clear(Alarm::Thaw), Action::Thaw]
        }
        (Frozen::Yes | Frozen::Thawing, Input::Did(Action::Thaw)) => {
            state.frozen = Frozen::No;
            vec![Action::Clear(Alarm::Thaw)]
        }
        (Frozen::Yes | Frozen::Thawing, Input::Failed(Action::Thaw)) => {
            state.frozen = Frozen::Thawing;
            // Without an agent its next connection is waited for.
            let again = state.agent.then_some(Action::Set(Alarm::Thaw, THAW_AGAIN));
            again.into_iter().collect()
        }
        _ => vec![],
    }
}

fn starting(state: &mut State, input: &Input) -> Vec<Action> {
    match input {
        Input::Started { paused } => {
            state.phase = Phase::Running;
            if *paused {
                state.run = Run::Paused(Pause::StartingUp);
            } else {
                state.run = Run::Running;
            }
            vec![]
        }
        Input::Terminate => kill(state, Outcome::Cancelled),
        Input::StartFailed => kill(state, Outcome::ControlLost),
        _ => vec![],
    }
}

fn running(terms: &Terms, state: &mut State, input: &Input) -> Vec<Action> {
    match input {
        Input::Terminate => stop(terms, state),
        _ => vec![],
    }
}

fn rebooting(terms: &Terms, state: &mut State, input: &Input) -> Vec<Action> {
    match input {
        Input::Terminate => stop(terms, state),
        Input::GuestReset => {
            state.phase = Phase::Running;
            // A guest that had powered off stands still; one that reset itself runs.
            let resume = state.is_paused().then_some(Action::Resume);
            [Action::Clear(Alarm::RebootOver)]
                .into_iter()
                .chain(resume)
                .collect()
        }
        Input::Failed(Action::AskAgentToReboot) => press(terms, state),
        Input::Failed(Action::Reset) => quit(state, Outcome::PoweredOff),
        Input::Alarm(Alarm::RebootOver) => {
            state.phase = Phase::Running;
            vec![]
        }
        _ => vec![],
    }
}

/// Asks the guest to power off.
fn stop(terms: &Terms, state: &mut State) -> Vec<Action> {
    if !terms.grace.is_zero() && (terms.acpi || state.agent) {
        state.phase = Phase::Stopping;
        let mut actions = vec![
            Action::Clear(Alarm::RebootOver),
            Action::Set(Alarm::GraceOver, terms.grace),
        ];
        if state.frozen != Frozen::No {
            // A guest that cannot write cannot end.
            state.frozen = Frozen::Thawing;
            actions.push(Action::Thaw);
        }
        if state.agent {
            let resume = state.is_paused().then_some(Action::Resume);
            actions.extend(resume);
            actions.push(Action::AskAgentToPowerOff);
            actions.push(Action::Set(Alarm::PressAgain, PRESS_AGAIN));
        } else {
            actions.extend(press(terms, state));
        }
        return actions;
    }
    quit(state, Outcome::Quit)
}

fn stopping(terms: &Terms, state: &mut State, input: &Input) -> Vec<Action> {
    match input {
        Input::Alarm(Alarm::PressAgain) | Input::Failed(Action::AskAgentToPowerOff) => {
            press(terms, state)
        }
        Input::Terminate | Input::Alarm(Alarm::GraceOver) => quit(state, Outcome::Quit),
        _ => vec![],
    }
}

fn quitting(state: &mut State, because: Outcome, input: &Input) -> Vec<Action> {
    let killed = match (because, input) {
        (
            Outcome::Quit,
            Input::GuestShutdown(cause @ (ShutdownCause::Guest | ShutdownCause::GuestReset)),
        ) => {
            // It made it after all, while `quit` was on its way.
            state.phase = Phase::Quitting {
                because: ended_by(*cause),
            };
            return vec![];
        }
        (Outcome::Quit, _) => Outcome::Killed,
        (known, _) => known,
    };
    match input {
        Input::Alarm(Alarm::QuitOverdue)
        | Input::Failed(Action::Quit)
        | Input::MonitorLost
        | Input::StartFailed
        | Input::Terminate => {
            state.phase = Phase::Quitting { because: killed };
            vec![Action::Kill]
        }
        _ => vec![],
    }
}

/// A paused guest hears no button, and without ACPI there is none; the alarm that bounds the wait is set already.
fn press(terms: &Terms, state: &State) -> Vec<Action> {
    if !terms.acpi {
        return vec![];
    }
    let resume = state.is_paused().then_some(Action::Resume);
    resume
        .into_iter()
        .chain([
            Action::PressPowerButton,
            Action::Set(Alarm::PressAgain, PRESS_AGAIN),
        ])
        .collect()
}

fn quit(state: &mut State, because: Outcome) -> Vec<Action> {
    state.phase = Phase::Quitting { because };
    vec![
        Action::ClearAlarms,
        Action::Quit,
        Action::Set(Alarm::QuitOverdue, QUIT_DEADLINE),
    ]
}

fn kill(state: &mut State, because: Outcome) -> Vec<Action> {
    state.phase = Phase::Quitting { because };
    vec![Action::ClearAlarms, Action::Kill]
}

#[cfg(test)]
mod tests;

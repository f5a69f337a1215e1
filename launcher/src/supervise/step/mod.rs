//! The state machine of a VM's life: `(State, Input) -> (State, Vec<Action>)`, no clock, no I/O.
//!
//! ```text
//!             Started                Terminate              guest ends, or grace is over
//!  Starting ───────────► Running ───────────────► Stopping ─────────────┐
//!     │                     │  guest powers off, resets, panics         ▼
//!     │ Terminate           └──────────────────────────────────────► Quitting ──► Ended
//!     └─────────────────────────────────────────────────────────────────┘  QEMU's exit, always
//! ```
//!
//! Moved by: the guest (QMP events), PID 1 (signals, QEMU's exit status), time (alarms that were asked for).
//! Fails by: an action that cannot be done comes back as `Failed`; `Quitting` has an alarm that kills; a killed
//! QEMU always exits. Every path ends in `Ended`, once, and only QEMU's exit leads there.

use std::time::Duration;

use super::outcome::Outcome;
use crate::monitor::protocol::ExitStatus;

/// A guest in firmware loses a press, so it is repeated until the guest is gone.
pub const PRESS_AGAIN: Duration = Duration::from_secs(5);
/// QEMU quits within milliseconds unless a disk hangs.
pub const QUIT_DEADLINE: Duration = Duration::from_secs(5);

/// What never changes during one VM's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long the guest has to power off.
    pub grace: Duration,
    /// Without ACPI a power button does nothing.
    pub acpi: bool,
}

/// Where the VM is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// QEMU is being set up; the guest has not run.
    Starting,
    /// vCPUs run, or are paused.
    Running {
        /// By a person, an I/O error, or `startStrategy: Paused`.
        paused: bool,
    },
    /// The guest was asked to power off.
    Stopping {
        /// vCPUs do not run.
        paused: bool,
    },
    /// QEMU was told to quit.
    Quitting {
        /// What will have been the end.
        because: Outcome,
    },
    /// QEMU is gone.
    Ended(Outcome),
}

/// What happens to the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `cont` was answered, or the guest is left paused as asked.
    Started {
        /// `startStrategy: Paused`.
        paused: bool,
    },
    /// Setting up failed, or an action did.
    Failed,
    /// QMP `SHUTDOWN`: the guest is gone, QEMU holds still.
    GuestShutdown(ShutdownCause),
    /// QMP `GUEST_PANICKED`.
    GuestPanicked,
    /// QMP `STOP`.
    Paused,
    /// QMP `RESUME`.
    Resumed,
    /// TERM, INT or QUIT.
    Terminate,
    /// An alarm went off.
    Alarm(Alarm),
    /// The monitor's session ended.
    MonitorLost,
    /// PID 1 reaped QEMU.
    QemuExited(ExitStatus),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// QMP `system_powerdown`.
    PressPowerButton,
    /// QMP `cont`.
    Resume,
    /// QMP `quit`.
    Quit,
    /// SIGKILL by pidfd.
    Kill,
    /// Call back after this time; setting it anew replaces the old one.
    Set(Alarm, Duration),
    /// Forget every alarm.
    ClearAlarms,
}

/// What was asked to be called back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Press the power button again.
    PressAgain,
    /// The guest's time is up.
    GraceOver,
    /// QEMU's time is up.
    QuitOverdue,
}

/// One step. Total: every input is answered in every state.
pub fn step(terms: &Terms, state: State, input: Input) -> (State, Vec<Action>) {
    match (state, input) {
        (State::Ended(outcome), _) => (State::Ended(outcome), vec![]),
        (state, Input::QemuExited(status)) => (
            State::Ended(ending(state, status)),
            vec![Action::ClearAlarms],
        ),
        (State::Quitting { because }, input) => quitting(because, &input),
        (_, Input::MonitorLost) => kill(Outcome::ControlLost),
        (_, Input::GuestShutdown(cause)) => quit(ended_by(cause)),
        (_, Input::GuestPanicked) => quit(Outcome::Panicked),
        (State::Starting, input) => starting(&input),
        (State::Running { paused }, input) => running(terms, paused, &input),
        (State::Stopping { paused }, input) => stopping(paused, &input),
    }
}

fn starting(input: &Input) -> (State, Vec<Action>) {
    match input {
        Input::Started { paused } => (State::Running { paused: *paused }, vec![]),
        Input::Terminate => kill(Outcome::Cancelled),
        Input::Failed => kill(Outcome::ControlLost),
        _ => (State::Starting, vec![]),
    }
}

fn running(terms: &Terms, paused: bool, input: &Input) -> (State, Vec<Action>) {
    match input {
        Input::Paused => (State::Running { paused: true }, vec![]),
        Input::Resumed => (State::Running { paused: false }, vec![]),
        Input::Terminate if !terms.acpi || terms.grace.is_zero() => quit(Outcome::Quit),
        Input::Terminate => {
            let mut actions = vec![Action::Set(Alarm::GraceOver, terms.grace)];
            actions.extend(press(paused));
            (State::Stopping { paused }, actions)
        }
        _ => (State::Running { paused }, vec![]),
    }
}

fn stopping(paused: bool, input: &Input) -> (State, Vec<Action>) {
    match input {
        Input::Paused => (State::Stopping { paused: true }, vec![]),
        Input::Resumed => (State::Stopping { paused: false }, vec![]),
        Input::Alarm(Alarm::PressAgain) => (State::Stopping { paused }, press(paused)),
        Input::Terminate | Input::Alarm(Alarm::GraceOver) => quit(Outcome::Quit),
        _ => (State::Stopping { paused }, vec![]),
    }
}

fn quitting(because: Outcome, input: &Input) -> (State, Vec<Action>) {
    let killed = match because {
        Outcome::Quit => Outcome::Killed,
        known => return stubborn(known, input),
    };
    match input {
        Input::GuestShutdown(cause @ (ShutdownCause::Guest | ShutdownCause::GuestReset)) => {
            // It made it after all, while `quit` was on its way.
            (
                State::Quitting {
                    because: ended_by(*cause),
                },
                vec![],
            )
        }
        _ => stubborn_with(Outcome::Quit, killed, input),
    }
}

fn stubborn(because: Outcome, input: &Input) -> (State, Vec<Action>) {
    stubborn_with(because.clone(), because, input)
}

fn stubborn_with(because: Outcome, killed: Outcome, input: &Input) -> (State, Vec<Action>) {
    match input {
        Input::Alarm(Alarm::QuitOverdue)
        | Input::Failed
        | Input::MonitorLost
        | Input::Terminate => (State::Quitting { because: killed }, vec![Action::Kill]),
        _ => (State::Quitting { because }, vec![]),
    }
}

/// A paused guest hears no button.
fn press(paused: bool) -> Vec<Action> {
    let resume = paused.then_some(Action::Resume);
    resume
        .into_iter()
        .chain([
            Action::PressPowerButton,
            Action::Set(Alarm::PressAgain, PRESS_AGAIN),
        ])
        .collect()
}

fn quit(because: Outcome) -> (State, Vec<Action>) {
    let actions = vec![
        Action::ClearAlarms,
        Action::Quit,
        Action::Set(Alarm::QuitOverdue, QUIT_DEADLINE),
    ];
    (State::Quitting { because }, actions)
}

fn kill(because: Outcome) -> (State, Vec<Action>) {
    (
        State::Quitting { because },
        vec![Action::ClearAlarms, Action::Kill],
    )
}

fn ended_by(cause: ShutdownCause) -> Outcome {
    match cause {
        ShutdownCause::Guest => Outcome::PoweredOff,
        ShutdownCause::GuestReset => Outcome::Reset,
        ShutdownCause::GuestPanic => Outcome::Panicked,
        ShutdownCause::Host => Outcome::Quit,
    }
}

fn ending(state: State, status: ExitStatus) -> Outcome {
    match state {
        State::Quitting {
            because: Outcome::ControlLost,
        } if !matches!(status, ExitStatus::Signal(libc::SIGKILL)) => Outcome::QemuDied(status),
        State::Quitting { because } | State::Ended(because) => because,
        State::Starting | State::Running { .. } | State::Stopping { .. } => {
            Outcome::QemuDied(status)
        }
    }
}

#[cfg(test)]
mod tests;

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
mod input;
pub mod operation;
pub mod resume;
mod state;

use std::time::Duration;

pub use input::{Action, Alarm, Bark, Dump, Input, ShutdownCause};
pub use state::{Frozen, IoError, Leaving, Pause, Phase, Run, State};

use super::outcome::Outcome;
use ending::{ended_by, ending};

/// A guest in firmware loses a press, so it is repeated until the guest is gone.
pub const PRESS_AGAIN: Duration = Duration::from_secs(5);
/// QEMU quits within milliseconds unless a disk hangs.
pub const QUIT_DEADLINE: Duration = Duration::from_secs(5);
/// A thaw that failed is tried again.
pub const THAW_AGAIN: Duration = Duration::from_secs(5);
/// A guest that was asked to reboot has this long, or its grace period if that is longer.
pub const REBOOT_DEADLINE: Duration = Duration::from_secs(60);
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
            Input::Watchdog(Bark::Poweroff) => quit(&mut state, Outcome::WatchdogFired),
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
        Input::CannotGoOn if state.run == Run::Paused(Pause::Unknown) => {
            state.run = Run::Paused(Pause::Crashed);
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
        Input::Dump(Dump::Begins) => state.stopping_for = Some(Pause::Dump),
        Input::Dump(Dump::Ended) => {
            state.stopping_for.take_if(|why| *why == Pause::Dump);
        }
        Input::Watchdog(bark) => {
            state.watchdog = Some(*bark);
            if *bark == Bark::Pause {
                state.stopping_for = Some(Pause::Watchdog);
            }
        }
        Input::Device { id, leaving } => state.leave(id, *leaving),
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

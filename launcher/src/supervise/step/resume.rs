//! Where a supervisor stands that follows a dead one: what the journal said, corrected by what is true.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Action, Alarm, Frozen, IoError, PRESS_AGAIN, Pause, Phase, Run, State, Terms, kill, press, quit,
};
use crate::monitor::protocol::ExitStatus;
use crate::supervise::outcome::Outcome;

/// What is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// QEMU is gone.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// PID 1 itself had ended it.
        overdue: bool,
    },
    /// QEMU answers.
    Runs {
        /// `query-status`.
        status: RunStatus,
        /// Disks whose `io-status` is not `ok`.
        failed: Vec<IoError>,
        /// The agent has its port open.
        agent: bool,
    },
}

/// QEMU's `RunState`, as far as it decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// `prelaunch`: `cont` has not come.
    Prelaunch,
    /// `running`, and `suspended`, which a guest leaves by itself.
    Running,
    /// `paused`, and all others that only stand still.
    Paused,
    /// `io-error`.
    IoError,
    /// `watchdog`.
    Watchdog,
    /// `save-vm`: its memory is being dumped.
    Dump,
    /// `internal-error`.
    InternalError,
    /// `shutdown`: the guest is gone.
    Shutdown,
    /// `guest-panicked`.
    Panicked,
}

/// What the dead supervisor left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Its state, where the journal can be believed.
    pub state: Option<State>,
    /// Alarms and the time until each.
    pub alarms: BTreeMap<Alarm, Duration>,
    /// Whether the rest of a start takes no privilege.
    pub settled: bool,
}

/// The state to go on from, and what to do first. In `Starting` the start is to be finished.
pub fn resume(terms: &Terms, left: Left, seen: Seen) -> (State, Vec<Action>) {
    let settled = left.settled;
    let known = left.state.is_some();
    let mut state = left.state.unwrap_or_default();
    if matches!(state.phase, Phase::Ended(_)) {
        return (state, vec![]);
    }
    let (status, failed, agent) = match seen {
        Seen::Exited { status, overdue } => {
            state.phase = Phase::Ended(super::ending(state.phase, status, overdue));
            return (state, vec![]);
        }
        Seen::Runs {
            status,
            failed,
            agent,
        } => (status, failed, agent),
    };
    state.agent = agent;
    state.failed = failed;
    state.run = run(&state, status);
    state.stopping_for = None;
    if let Phase::Quitting { because } = state.phase.clone() {
        let actions = match because {
            Outcome::ControlLost | Outcome::Cancelled | Outcome::Killed | Outcome::StartLost => {
                kill(&mut state, because)
            }
            because => quit(&mut state, because),
        };
        return (state, actions);
    }
    let actions = match (status, &state.phase) {
        (RunStatus::Panicked, _) => quit(&mut state, Outcome::Panicked),
        (RunStatus::Shutdown, Phase::Rebooting) => {
            let mut actions = restored(&left.alarms);
            actions.push(Action::Reset);
            actions
        }
        (RunStatus::Shutdown, _) => {
            let unseen = match terms.reset_ends {
                true => Outcome::OffOrReset,
                false => Outcome::PoweredOff,
            };
            quit(&mut state, unseen)
        }
        (RunStatus::Prelaunch, Phase::Starting) if settled => vec![],
        (RunStatus::Prelaunch, Phase::Starting) => kill(&mut state, Outcome::StartLost),
        (_, phase) => {
            if *phase == Phase::Starting {
                state.phase = Phase::Running;
            }
            go_on(terms, &mut state, &left.alarms, known)
        }
    };
    (state, actions)
}

fn run(state: &State, status: RunStatus) -> Run {
    let before = match state.run {
        Run::Paused(why) => Some(why),
        Run::Running => state.stopping_for,
    };
    Run::Paused(match status {
        RunStatus::Running => return Run::Running,
        RunStatus::Prelaunch => Pause::StartingUp,
        RunStatus::Paused => before.unwrap_or(Pause::Unknown),
        RunStatus::IoError => Pause::IoError,
        RunStatus::Watchdog => Pause::Watchdog,
        RunStatus::Dump => Pause::Dump,
        RunStatus::InternalError => Pause::Crashed,
        RunStatus::Shutdown | RunStatus::Panicked => Pause::ShuttingDown,
    })
}

fn restored(alarms: &BTreeMap<Alarm, Duration>) -> Vec<Action> {
    let set = |(alarm, left): (&Alarm, &Duration)| Action::Set(*alarm, *left);
    alarms.iter().map(set).collect()
}

/// What was asked of the guest is asked again where that does no harm.
fn go_on(
    terms: &Terms,
    state: &mut State,
    alarms: &BTreeMap<Alarm, Duration>,
    known: bool,
) -> Vec<Action> {
    let mut actions = restored(alarms);
    match state.phase {
        Phase::Stopping => {
            if !alarms.contains_key(&Alarm::GraceOver) {
                actions.push(Action::Set(Alarm::GraceOver, terms.grace));
            }
            match terms.acpi {
                true => actions.extend(press(terms, state)),
                false => {
                    actions.push(Action::AskAgentToPowerOff);
                    actions.push(Action::Set(Alarm::PressAgain, PRESS_AGAIN));
                }
            }
        }
        // The guest may have rebooted unseen, so it is not asked again.
        Phase::Rebooting if !alarms.contains_key(&Alarm::RebootOver) => {
            state.phase = Phase::Running;
        }
        _ => {}
    }
    let thaw = state.frozen == Frozen::Thawing && state.agent;
    // A journal that cannot be believed may have promised a thaw; thawing what is not frozen does nothing.
    if thaw || (!known && state.agent) {
        state.frozen = Frozen::Thawing;
        actions.push(Action::Thaw);
    }
    actions
}

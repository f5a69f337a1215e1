//! What people can ask of a VM, and whether it can be done now.
//!
//! Every operation is idempotent: what is so already is no failure and costs nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Action, Alarm, Frozen, Pause, Phase, REBOOT_DEADLINE, State, Terms, press, quit, stop,
};
use crate::supervise::outcome::Outcome;

/// One wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// vCPUs stand still.
    Pause,
    /// vCPUs run; the decision that an I/O error or a watchdog waits for.
    Unpause,
    /// The guest powers off, in its grace period.
    Shutdown,
    /// The guest reboots by itself.
    SoftReboot,
    /// The machine is reset under the guest.
    Reset,
    /// QEMU ends now.
    Kill,
    /// The guest's file systems are frozen.
    Freeze {
        /// They are thawed after this time by themselves; zero: never.
        thaw_after: Duration,
    },
    /// The guest's file systems are thawed.
    Thaw,
}

/// What comes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is done.
    Go,
    /// It is so already.
    Already,
    /// It cannot be done.
    Refused(Why),
}

/// Why it cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The guest does not run yet.
    #[error("the VM is still starting")]
    Starting,
    /// There will be no guest soon.
    #[error("the VM is ending")]
    Ending,
    /// It needs the agent.
    #[error("no guest agent is connected")]
    NoAgent,
    /// Neither agent nor button.
    #[error("the guest has no agent connected and no ACPI, so nothing can ask it")]
    Deaf,
    /// A reset would be the end.
    #[error("`rebootPolicy: Terminate` makes a reset the VM's end; `shutdown` and `kill` end it")]
    ResetEnds,
    /// vCPUs stand still.
    #[error("the guest is paused; `unpause` it first")]
    Paused,
}

/// Whether `operation` can be done now.
pub fn admit(terms: &Terms, state: &State, operation: Operation) -> Admission {
    use Admission::{Already, Go, Refused};
    match (&state.phase, operation) {
        (Phase::Quitting { .. } | Phase::Ended(_), Operation::Kill | Operation::Shutdown) => {
            return Already;
        }
        (Phase::Quitting { .. } | Phase::Ended(_), _) => return Refused(Why::Ending),
        (_, Operation::Kill) => return Go,
        (Phase::Starting, _) => return Refused(Why::Starting),
        (Phase::Stopping, Operation::Shutdown) | (Phase::Rebooting, Operation::SoftReboot) => {
            return Already;
        }
        (
            Phase::Stopping,
            Operation::Pause | Operation::SoftReboot | Operation::Reset | Operation::Freeze { .. },
        ) => return Refused(Why::Ending),
        _ => {}
    }
    let paused = state.is_paused();
    match operation {
        Operation::Pause if paused => Already,
        Operation::Unpause if !paused => Already,
        Operation::Thaw if state.frozen == Frozen::No => Already,
        Operation::Freeze { .. } if state.frozen == Frozen::Yes => Already,
        Operation::Freeze { .. } | Operation::Thaw if !state.agent => Refused(Why::NoAgent),
        Operation::Freeze { .. } | Operation::SoftReboot if paused => Refused(Why::Paused),
        Operation::SoftReboot | Operation::Reset if terms.reset_ends => Refused(Why::ResetEnds),
        Operation::SoftReboot if !state.agent && !terms.acpi => Refused(Why::Deaf),
        _ => Go,
    }
}

/// Does what is admitted, and nothing else.
pub(super) fn ask(terms: &Terms, state: &mut State, operation: Operation) -> Vec<Action> {
    if admit(terms, state, operation) != Admission::Go {
        return vec![];
    }
    match operation {
        Operation::Pause => {
            state.stopping_for = Some(Pause::User);
            vec![Action::Pause]
        }
        Operation::Unpause => vec![Action::Resume],
        Operation::Shutdown => stop(terms, state),
        Operation::Reset => vec![Action::Reset],
        Operation::Kill => quit(state, Outcome::Destroyed),
        Operation::SoftReboot => {
            state.phase = Phase::Rebooting;
            let deadline = terms.grace.max(REBOOT_DEADLINE);
            let mut actions = vec![Action::Set(Alarm::RebootOver, deadline)];
            match state.agent {
                true => actions.push(Action::AskAgentToReboot),
                false => actions.extend(
                    press(terms, state)
                        .into_iter()
                        .filter(|action| !matches!(action, Action::Set(..))),
                ),
            }
            actions
        }
        Operation::Freeze { thaw_after } => {
            state.frozen = Frozen::Yes;
            // Before the freeze: whatever becomes of us, whoever comes next finds it in the journal.
            let alarm = (!thaw_after.is_zero()).then_some(Action::Set(Alarm::Thaw, thaw_after));
            alarm.into_iter().chain([Action::Freeze]).collect()
        }
        Operation::Thaw => {
            state.frozen = Frozen::Thawing;
            vec![Action::Clear(Alarm::Thaw), Action::Thaw]
        }
    }
}

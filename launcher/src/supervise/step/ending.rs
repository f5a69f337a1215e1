//! What an end will have been.

use super::{Phase, ShutdownCause};
use crate::monitor::protocol::ExitStatus;
use crate::supervise::outcome::Outcome;

pub(super) fn ended_by(cause: ShutdownCause) -> Outcome {
    match cause {
        ShutdownCause::Guest => Outcome::PoweredOff,
        ShutdownCause::GuestReset => Outcome::Reset,
        ShutdownCause::GuestPanic => Outcome::Panicked,
        ShutdownCause::Host => Outcome::Quit,
    }
}

/// The first reason that decided stands.
pub(super) fn ending(phase: Phase, status: ExitStatus, overdue: bool) -> Outcome {
    match phase {
        Phase::Quitting {
            because: Outcome::ControlLost,
        } if !overdue && !matches!(status, ExitStatus::Signal(libc::SIGKILL)) => {
            Outcome::QemuDied(status)
        }
        Phase::Quitting {
            because: Outcome::Quit,
        } if overdue => Outcome::Killed,
        Phase::Quitting { because } | Phase::Ended(because) => because,
        _ if overdue => Outcome::Killed,
        Phase::Starting | Phase::Running | Phase::Rebooting | Phase::Stopping => {
            Outcome::QemuDied(status)
        }
    }
}

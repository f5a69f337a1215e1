//! What PID 1 must not sleep past, and what is done then.

use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use super::Pid1;
use super::swap::Swapping;

/// How long a supervisor has to tell the end of a QEMU that is gone: by itself, and where PID 1 had to end it, since the
/// kubelet kills the pod 15 s after the guest's own time (facts 2.6).
const LAST_WORD: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(2)];
/// How long a supervisor that was told to end has where there is no QEMU.
const END_WITHOUT_QEMU: Duration = Duration::from_secs(10);

impl Pid1 {
    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let next = self.next.as_ref().map(|next| next.at);
        let guest = self
            .guest
            .as_ref()
            .and_then(|guest| guest.deadline(self.ending.first));
        let swap = self.swap.as_ref().and_then(Swapping::until);
        [next, guest, swap, self.silence_ends()]
            .into_iter()
            .flatten()
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

    pub(super) fn until_next_deadline(&self) -> PollTimeout {
        let Some(next) = self.deadlines().min() else {
            return PollTimeout::NONE;
        };
        // Rounded up: one that ends early would find nothing due and spin.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    pub(super) fn keep_deadlines(&mut self) {
        let now = Instant::now();
        if let Some(guest) = &mut self.guest {
            guest.keep_deadline(self.ending.first, now);
        }
        self.keep_swap_deadline(now);
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

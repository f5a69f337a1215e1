//! When a dead supervisor is followed by the next, and whether that one does without what may have killed it.

use std::time::Duration;

use super::protocol::ExitStatus;

/// So many are started at once, each within milliseconds.
const AT_ONCE: u32 = 3;
/// From this many in a row on the next one is minimal.
const MINIMAL_AFTER: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// A supervisor that crashed after so long was well until then. The slowest of what a guest can feed it, the agent's
/// answers, comes within a minute.
const CALM: Duration = Duration::from_secs(60);
/// SIGKILL comes from outside, not from what the supervisor was given.
const CALM_BEFORE_A_KILL: Duration = Duration::from_secs(1);

/// Deaths in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deaths {
    row: u32,
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// The wait before the next start.
    pub after: Duration,
    /// Without agent and journal.
    pub minimal: bool,
}

impl Deaths {
    /// So many in a row, as another program of PID 1 counted them.
    pub fn in_a_row(row: u32) -> Self {
        Self { row }
    }

    /// How many in a row.
    pub fn row(self) -> u32 {
        self.row
    }

    /// A supervisor died; `in_control` is for how long it had had the VM in hand, if it ever had.
    pub fn died(&mut self, how: ExitStatus, in_control: Option<Duration>) -> Restart {
        let calm = match how {
            ExitStatus::Signal(libc::SIGKILL) => CALM_BEFORE_A_KILL,
            _ => CALM,
        };
        if in_control.is_some_and(|time| time >= calm) {
            self.row = 0;
        }
        self.row = self.row.saturating_add(1);
        Restart {
            after: backoff(self.row),
            minimal: self.row >= MINIMAL_AFTER,
        }
    }
}

fn backoff(row: u32) -> Duration {
    match row.checked_sub(AT_ONCE + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_BACKOFF
            .saturating_mul(1 << doublings.min(16))
            .min(LAST_BACKOFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: ExitStatus = ExitStatus::Signal(libc::SIGABRT);
    const KILL: ExitStatus = ExitStatus::Signal(libc::SIGKILL);

    #[test]
    fn a_row_backs_off_to_a_cap_and_turns_minimal() {
        let mut deaths = Deaths::default();
        let row: Vec<Restart> = (0..12).map(|_| deaths.died(CRASH, None)).collect();
        let waits: Vec<u128> = row.iter().map(|one| one.after.as_millis()).collect();
        assert_eq!(
            waits,
            [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]
        );
        assert_eq!(row.iter().position(|one| one.minimal), Some(4));
    }

    #[test]
    fn one_that_was_well_ends_the_row() {
        let mut deaths = Deaths::default();
        for _ in 0..7 {
            deaths.died(CRASH, Some(Duration::from_secs(59)));
        }
        let fresh = Restart {
            after: Duration::ZERO,
            minimal: false,
        };
        assert_ne!(deaths.died(CRASH, Some(Duration::from_secs(59))), fresh);
        assert_eq!(deaths.died(KILL, Some(Duration::from_secs(1))), fresh);
        assert_eq!(deaths.died(CRASH, Some(Duration::from_secs(60))), fresh);
    }

    #[test]
    fn it_goes_on_for_ever() {
        let mut deaths = Deaths { row: u32::MAX - 1 };
        deaths.died(KILL, None);
        assert_eq!(deaths.died(KILL, None).after, LAST_BACKOFF);
    }
}

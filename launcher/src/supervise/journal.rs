//! What a supervisor has decided, for the one that may have to follow it.
//!
//! Written before anything is done about it, so that a follower finds either the decision or nothing to know. Kept
//! as one small file that is replaced whole: it does not grow, and needs no replay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::alarms::Alarms;
use super::state_dir::{JOURNAL, StateDir, StateError};
use super::step::resume::Left;
use super::step::{Action, Alarm, State};
use crate::monitor::protocol::Hello;

/// The shape that this program writes.
pub const VERSION: u32 = 1;

/// A journal that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A later program's.
    #[error(
        "the running program writes its journal in version {theirs}, and this one reads up to {VERSION}: it is older"
    )]
    Newer {
        /// Its version.
        theirs: u32,
    },
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// [`VERSION`]. A newer program reads older ones; of a newer one nothing is believed.
    pub version: u32,
    /// Where the VM is in its life.
    pub state: State,
    /// When alarms go off: milliseconds of `CLOCK_MONOTONIC`, which all processes share and nobody can set.
    pub alarms: BTreeMap<Alarm, u64>,
    /// Signals of PID 1 that were answered.
    pub signals: u32,
    /// Actions under way: begun, and not known to have had their effect.
    pub under_way: BTreeSet<Action>,
    /// Since when the state is what it is: milliseconds of the wall clock since 1970.
    pub since: u64,
}

impl Journal {
    /// What is written down at this moment.
    pub fn now(
        state: &State,
        alarms: &Alarms,
        signals: u32,
        under_way: &BTreeSet<Action>,
        since: u64,
    ) -> Self {
        let now = monotonic_ms();
        let alarms = alarms
            .left()
            .map(|(alarm, left)| (alarm, now.saturating_add(millis(left))));
        Self {
            version: VERSION,
            state: state.clone(),
            alarms: alarms.collect(),
            signals,
            under_way: under_way.clone(),
            since,
        }
    }

    /// What a dead supervisor left, if it can be believed. A minimal supervisor believes it only once there is nothing
    /// left that it could make us do.
    pub fn read(dir: &StateDir, hello: &Hello) -> Option<Self> {
        let exited = hello.qemu.is_some_and(|qemu| qemu.exit.is_some());
        if hello.minimal && !exited {
            tracing::warn!(
                event = "journal-set-aside",
                "several supervisors died in a row: this one goes by what QEMU says alone"
            );
            return None;
        }
        match dir.read::<Self>(JOURNAL) {
            Ok(journal) if journal.is_readable() => Some(journal),
            Ok(journal) => {
                tracing::warn!(
                    event = "journal-unreadable",
                    version = journal.version,
                    "a newer program wrote the journal; going by what QEMU says"
                );
                None
            }
            Err(error) => {
                tracing::warn!(event = "journal-unreadable", error = %crate::causes::chain(&error), "going by what QEMU says");
                None
            }
        }
    }

    /// Whether this program reads what the running one wrote.
    pub fn check(dir: &StateDir) -> Result<(), JournalError> {
        let written: Self = dir.read(JOURNAL)?;
        match written.is_readable() {
            true => Ok(()),
            false => Err(JournalError::Newer {
                theirs: written.version,
            }),
        }
    }

    fn is_readable(&self) -> bool {
        self.version <= VERSION
    }

    /// For the follower.
    pub fn left(&self, settled: bool) -> Left {
        let now = monotonic_ms();
        let left = |at: &u64| Duration::from_millis(at.saturating_sub(now));
        Left {
            state: Some(self.state.clone()),
            alarms: self
                .alarms
                .iter()
                .map(|(alarm, at)| (*alarm, left(at)))
                .collect(),
            settled,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn monotonic_ms() -> u64 {
    // The clock exists since Linux 2.6 (clock_gettime(2)).
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| millis(time.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::step::{Pause, Phase, Run};

    /// As version 1 was written; never changed, so that it stays readable.
    const OLD: &str = r#"{
        "version": 1,
        "state": {"phase": {"quitting": {"because": "powered-off"}}, "run": {"paused": "shutting-down"},
                  "frozen": "no", "agent": false, "failed": [], "stopping_for": null},
        "alarms": {"quit-overdue": 1},
        "signals": 1,
        "under_way": ["quit"],
        "since": 1764000000000
    }"#;

    #[test]
    fn what_was_written_is_read() {
        let old: Journal = serde_json::from_str(OLD).unwrap();
        assert!(old.is_readable());
        assert_eq!(old.left(true).alarms[&Alarm::QuitOverdue], Duration::ZERO);
        let again: Journal = serde_json::from_str(&serde_json::to_string(&old).unwrap()).unwrap();
        assert_eq!(again, old);
    }

    /// Of the first program that could be upgraded, with its guest paused by a user; never changed.
    #[test]
    fn the_journal_of_the_first_upgradable_program_is_read() {
        let old = r#"{"version":1,"state":{"phase":"running","run":{"paused":"user"},"frozen":"no","agent":false,"failed":[],"stopping_for":null,"watchdog":null},"alarms":{},"signals":0,"under_way":[],"since":1795591462336}"#;
        let old: Journal = serde_json::from_str(old).unwrap();
        assert!(old.is_readable());
        assert_eq!(old.state.phase, Phase::Running);
        assert_eq!(old.state.run, Run::Paused(Pause::User));
        assert_eq!(old.since, 1795591462336);
    }

    #[tokio::test]
    async fn an_alarm_keeps_its_time() {
        let mut alarms = Alarms::default();
        alarms.set(Alarm::GraceOver, Duration::from_secs(100));
        let journal = Journal::now(&State::new(), &alarms, 0, &BTreeSet::new(), 0);
        let left = journal.left(false).alarms[&Alarm::GraceOver];
        assert!(
            left <= Duration::from_secs(100) && left > Duration::from_secs(10),
            "{left:?}"
        );
    }
}

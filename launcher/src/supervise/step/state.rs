//! Where a VM is in its life, as the journal keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Bark;
use crate::supervise::outcome::Outcome;

/// More disks than a VM has.
pub(super) const MOST_FAILED: usize = 64;
/// More devices of the host than a VM has.
pub(super) const MOST_LEAVING: usize = 64;

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
    /// What the watchdog did last.
    #[serde(default)]
    pub watchdog: Option<Bark>,
    /// Devices of the host that the guest is to let go or has no more, by QEMU's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leaving: BTreeMap<String, Leaving>,
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

/// How far a device of the host is on its way out of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaving {
    /// Its driver on the host gives it up, and QEMU has asked the guest to let it go.
    WantedBack,
    /// The guest said no.
    NotLetGo,
    /// The guest has it no more.
    Gone,
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
            watchdog: None,
            leaving: BTreeMap::new(),
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.run != Run::Running
    }

    /// There is no way back but a new start: QEMU asks again for what was not let go.
    pub(super) fn leave(&mut self, device: &str, leaving: Leaving) {
        let room = self.leaving.len() < MOST_LEAVING;
        match self.leaving.get_mut(device) {
            Some(known) => *known = leaving.max(*known),
            None if room => {
                self.leaving.insert(device.to_owned(), leaving);
            }
            None => {}
        }
    }

    pub(super) fn fail(&mut self, error: IoError) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_on_its_way_out_does_not_come_back() {
        use Leaving::{Gone, NotLetGo, WantedBack};
        let mut state = State::new();
        for (id, leaving) in [
            ("a", WantedBack),
            ("b", WantedBack),
            ("b", NotLetGo),
            ("b", WantedBack),
            ("c", Gone),
            ("c", WantedBack),
        ] {
            state.leave(id, leaving);
        }
        let expected = [("a", WantedBack), ("b", NotLetGo), ("c", Gone)];
        assert_eq!(
            state.leaving,
            expected
                .map(|(id, leaving)| (id.to_owned(), leaving))
                .into()
        );
        for number in 0..1000 {
            state.leave(&number.to_string(), Gone);
        }
        assert_eq!(state.leaving.len(), MOST_LEAVING);
    }
}

//! What the loop leaves for others: the journal for whoever follows, the status for whoever asks.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Driver;
use crate::status::{Circumstances, Pids, status};
use crate::supervise::journal::Journal;
use crate::supervise::state_dir::{JOURNAL, STATUS};
use crate::supervise::step::Alarm;

impl Driver<'_> {
    pub(super) fn tell_time_left(&self) {
        let mut alarms = self.alarms.left();
        let left = alarms.find(|(alarm, _)| *alarm == Alarm::GraceOver);
        let seconds = left.map_or(0.0, |(_, left)| left.as_secs_f64().ceil());
        tracing::info!(
            event = "power-button",
            seconds_left = seconds,
            "guest: its power button is pressed; it has {seconds} s left, or until another signal"
        );
    }

    /// What is decided and has nothing to wait for it, and what others are told.
    pub(super) fn write(&mut self) {
        self.unwritten = false;
        self.write_journal();
        self.publish();
    }

    pub(super) fn write_journal(&mut self) {
        let journal = Journal::now(
            &self.state,
            &self.alarms,
            self.signals,
            &self.under_way,
            self.since,
        );
        if self.journaled.as_ref() == Some(&journal) {
            return;
        }
        if let Err(error) = self.dir.write(JOURNAL, &journal) {
            // The guest is worth more than the record of it: a follower then goes by what QEMU says.
            tracing::warn!(event = "not-journaled", error = %crate::causes::chain(&error), "a supervisor that has to follow will know less");
        }
        self.journaled = Some(journal);
    }

    /// Tells the status, where it is another.
    pub(super) fn publish(&mut self) {
        self.services.agent_is(self.state.agent);
        let now = Circumstances {
            since: self.since,
            pids: Pids {
                pid1: std::os::unix::process::parent_id().cast_signed(),
                supervisor: std::process::id().cast_signed(),
                qemu: self.qemu_pid,
            },
            restarts: self.hello.restarts,
            minimal: self.hello.minimal,
            monitor: self.monitor.session().is_some(),
            pid1_program: self.hello.program.clone(),
            landlock: self.hello.landlock,
            upgrade: self.hello.swap.clone(),
        };
        let status = status(self.plan, &self.state, &now);
        let Ok(mut status) = serde_json::to_value(status) else {
            return;
        };
        status["agent"] = self.services.answers();
        status["network"] = self.services.network();
        status["elsewhere"] = self.services.elsewhere();
        if !self.services.publish(&status) {
            return;
        }
        if let Err(error) = self.dir.write(STATUS, &status) {
            tracing::warn!(event = "status-not-written", error = %crate::causes::chain(&error), "the status file is old");
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

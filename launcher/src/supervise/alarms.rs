//! Timers by what they are for.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::step::Alarm;

/// All that are set.
#[derive(Debug, Default)]
pub struct Alarms {
    set: BTreeMap<Alarm, Instant>,
}

impl Alarms {
    /// Goes off after this time, whatever was set before.
    pub fn set(&mut self, alarm: Alarm, after: Duration) {
        // A grace period may be longer than the clock is.
        let at = Instant::now().checked_add(after);
        match at {
            Some(at) => self.set.insert(alarm, at),
            None => self.set.remove(&alarm),
        };
    }

    /// Forgets one.
    pub fn remove(&mut self, alarm: Alarm) {
        self.set.remove(&alarm);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.set.clear();
    }

    /// Each and the time until it goes off.
    pub fn left(&self) -> impl Iterator<Item = (Alarm, Duration)> {
        let now = Instant::now();
        self.set
            .iter()
            .map(move |(alarm, at)| (*alarm, at.saturating_duration_since(now)))
    }

    /// The next to go off; it is forgotten then. Cancel-safe.
    pub async fn next(&mut self) -> Alarm {
        let Some((alarm, at)) = self
            .set
            .iter()
            .map(|(alarm, at)| (*alarm, *at))
            .min_by_key(|(_, at)| *at)
        else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        self.set.remove(&alarm);
        alarm
    }
}

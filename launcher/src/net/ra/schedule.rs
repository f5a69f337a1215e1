//! When an advertisement goes to all hosts of the link: RFC 4861 6.2.4 and 6.2.6 with the defaults of 6.2.1. Time and
//! chance come in as values.

use std::time::Duration;

/// MaxRtrAdvInterval.
const MOST: Duration = Duration::from_secs(600);
/// MinRtrAdvInterval.
const LEAST: Duration = Duration::from_secs(200);
/// MAX_INITIAL_RTR_ADVERTISEMENTS and MAX_INITIAL_RTR_ADVERT_INTERVAL (RFC 4861 10): the first come sooner.
const INITIAL: u32 = 3;
const INITIAL_MOST: Duration = Duration::from_secs(16);
/// MIN_DELAY_BETWEEN_RAS.
const BETWEEN: Duration = Duration::from_secs(3);

/// The interval timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    due: Duration,
    /// When the last one went out, and how many have.
    last: Option<Duration>,
    sent: u32,
}

impl Schedule {
    /// The first is due at `now`.
    pub fn new(now: Duration) -> Self {
        Self {
            due: now,
            last: None,
            sent: 0,
        }
    }

    /// When the next one is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A host that cannot be answered by itself has asked at `now`: all are answered, though not more often than every
    /// three seconds. RFC 4861's random delay of up to half a second is none here: it keeps routers apart, and this is
    /// the only one.
    pub fn solicited(&mut self, now: Duration) {
        let earliest = self.last.map_or(now, |last| last.saturating_add(BETWEEN));
        self.due = self.due.min(earliest.max(now));
    }

    /// One went out at `now`. `chance` places the next one between the least and the greatest interval.
    pub fn sent(&mut self, now: Duration, chance: u32) {
        self.last = Some(now);
        self.sent = self.sent.saturating_add(1);
        let interval = LEAST + (MOST - LEAST).mul_f64(f64::from(chance) / f64::from(u32::MAX));
        self.due = now.saturating_add(if self.sent < INITIAL {
            interval.min(INITIAL_MOST)
        } else {
            interval
        });
    }
}

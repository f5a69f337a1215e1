//! The real-time clock and the timers.

use std::collections::BTreeMap;

use crate::machine::board::Accel;
use crate::machine::device::KeyValues;
use crate::refusal::{Notice, Violation};
use crate::spec::firmware::Clock;

/// The farthest offset that a `TZ` string can say: glibc reads up to 167 hours.
const FARTHEST_OFFSET: u64 = 167 * 3600 + 59 * 60 + 59;

/// The clock as QEMU is told of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rtc {
    /// `-rtc`.
    pub rtc: KeyValues,
    /// `-global`.
    pub globals: Vec<KeyValues>,
    /// `TZ`, where the clock is not UTC.
    pub environment: BTreeMap<String, String>,
    /// What was left out.
    pub notices: Vec<Notice>,
}

/// The clock of a VMI.
///
/// A date given to `-rtc base=` would be the moment of planning; a `TZ` of our own with
/// `base=localtime` says the same offset whenever QEMU starts.
pub fn rtc(clock: &Clock, accel: Accel) -> Result<Rtc, Violation> {
    let mut result = Rtc::default();
    let zone = match &clock.timezone {
        Some(zone) => Some(zone.clone()),
        None if clock.utc_offset_seconds != 0 => Some(offset_zone(clock.utc_offset_seconds)?),
        None => None,
    };
    let base = if zone.is_some() { "localtime" } else { "utc" };
    result.rtc = KeyValues::new().with("base", base);
    if clock.rtc_track_guest {
        result.rtc = result.rtc.with("clock", "vm");
    }
    if clock.rtc_catchup {
        result.rtc = result.rtc.with("driftfix", "slew");
    }
    if let Some(zone) = zone {
        result.environment.insert("TZ".to_owned(), zone);
    }
    match (&clock.pit_lost_tick_policy, accel) {
        (Some(policy), Accel::Kvm) => result
            .globals
            .push(KeyValues::new().with("kvm-pit.lost_tick_policy", policy.clone())),
        (Some(policy), Accel::Tcg) => result.notices.push(Notice::new(
            "spec.domain.clock.timer.pit.tickPolicy",
            format!("`{policy}` is KVM's: the emulated timer has no such policy"),
        )),
        (None, _) => {}
    }
    Ok(result)
}

/// A fixed zone, in which POSIX counts hours west of UTC.
fn offset_zone(seconds: i64) -> Result<String, Violation> {
    let magnitude = seconds.unsigned_abs();
    if magnitude > FARTHEST_OFFSET {
        return Err(Violation::new(
            "spec.domain.clock.utc.offsetSeconds",
            format!("an offset of `{seconds}` seconds is more than 167 hours"),
            "set the guest's date from within, or by the guest agent",
        ));
    }
    let sign = if seconds > 0 { '-' } else { '+' };
    Ok(format!(
        "VMI{sign}{:02}:{:02}:{:02}",
        magnitude / 3600,
        magnitude / 60 % 60,
        magnitude % 60
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_east_of_utc_is_a_negative_zone() {
        assert_eq!(offset_zone(3723).unwrap(), "VMI-01:02:03");
        assert_eq!(offset_zone(-60).unwrap(), "VMI+00:01:00");
        assert!(offset_zone(700_000).is_err());
        assert!(offset_zone(i64::MIN).is_err());
    }

    #[test]
    fn utc_needs_no_zone() {
        let rtc = rtc(&Clock::default(), Accel::Kvm).unwrap();
        assert_eq!(rtc.rtc, KeyValues::new().with("base", "utc"));
        assert!(rtc.environment.is_empty());
    }

    #[test]
    fn the_pit_policy_needs_kvm() {
        let clock = Clock {
            pit_lost_tick_policy: Some("delay".to_owned()),
            ..Clock::default()
        };
        assert_eq!(rtc(&clock, Accel::Kvm).unwrap().globals.len(), 1);
        assert_eq!(rtc(&clock, Accel::Tcg).unwrap().notices.len(), 1);
    }
}

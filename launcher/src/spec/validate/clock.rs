//! The guest's clock and its timers (facts 4.5).

use super::{choose, given};
use crate::spec::firmware::Clock;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{self, Timers};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// A hundred years either way: every clock can hold it.
const MOST_OFFSET_SECONDS: u64 = 3_155_760_000;

pub(super) fn clock(written: &mirror::Clock, out: &mut Findings) -> Clock {
    let at = Path::of("spec.domain.clock");
    let timezone = given(&written.timezone);
    if written.utc.is_some() && timezone.is_some() {
        out.refuse(
            &at.key("timezone"),
            "the clock is in UTC already",
            "keep `utc` or `timezone`",
        );
    }
    let mut clock = Clock {
        utc_offset_seconds: utc_offset(written, &at, out),
        timezone: timezone.map(str::to_owned),
        ..Clock::default()
    };
    if let Some(zone) = timezone {
        timezone_name(zone, &at.key("timezone"), out);
    }
    let at = at.key("timer");
    hpet(&written.timer, &at.key("hpet"), &mut clock, out);
    pit(&written.timer, &at.key("pit"), &mut clock, out);
    rtc(&written.timer, &at.key("rtc"), &mut clock, out);
    clock
}

fn utc_offset(written: &mirror::Clock, at: &Path, out: &mut Findings) -> i64 {
    let seconds = written
        .utc
        .as_ref()
        .and_then(|utc| utc.offset_seconds)
        .unwrap_or(0);
    if seconds.unsigned_abs() > MOST_OFFSET_SECONDS {
        out.refuse(
            &at.key("utc").key("offsetSeconds"),
            format!("`{seconds}` seconds are more than a hundred years"),
            "give the seconds to add to UTC",
        );
        return 0;
    }
    seconds
}

/// `Europe/Paris`, `Etc/GMT+3`: the name of a file of the zone database, so no way out of its directory.
fn timezone_name(zone: &str, at: &Path, out: &mut Findings) {
    let good = zone.len() <= 64
        && zone.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
        });
    if !good {
        out.refuse(
            at,
            format!("`{}` is not the name of a time zone", shortened(zone)),
            "use a name such as `Europe/Paris`, or `utc: {}`",
        );
    }
}

/// QEMU's HPET has no tick policy.
fn hpet(timers: &Timers, at: &Path, clock: &mut Clock, out: &mut Findings) {
    let Some(hpet) = &timers.hpet else { return };
    clock.hpet = Some(hpet.present.unwrap_or(true));
    choose(
        &hpet.tick_policy,
        &at.key("tickPolicy"),
        "a tick policy that QEMU's HPET has",
        &[("delay", ())],
        out,
    );
}

/// KVM's PIT delays or discards lost ticks, and cannot catch up with them.
fn pit(timers: &Timers, at: &Path, clock: &mut Clock, out: &mut Findings) {
    let Some(pit) = &timers.pit else { return };
    if pit.present == Some(false) {
        out.refuse(
            &at.key("present"),
            "a machine without a PIT is not supported by this version",
            "remove it",
        );
    }
    let policies = [("delay", "delay"), ("discard", "discard")];
    let policy = choose(
        &pit.tick_policy,
        &at.key("tickPolicy"),
        "a tick policy that KVM's PIT has",
        &policies,
        out,
    );
    clock.pit_lost_tick_policy = policy.map(str::to_owned);
}

fn rtc(timers: &Timers, at: &Path, clock: &mut Clock, out: &mut Findings) {
    let Some(rtc) = &timers.rtc else { return };
    if rtc.present == Some(false) {
        out.refuse(
            &at.key("present"),
            "this machine always has a real-time clock",
            "remove it",
        );
    }
    let policies = [("delay", false), ("catchup", true)];
    let policy = choose(
        &rtc.tick_policy,
        &at.key("tickPolicy"),
        "a tick policy of the RTC",
        &policies,
        out,
    );
    clock.rtc_catchup = policy.unwrap_or(false);
    let tracks = [("guest", true), ("wall", false)];
    let track = choose(
        &rtc.track,
        &at.key("track"),
        "a clock that the RTC tracks",
        &tracks,
        out,
    );
    clock.rtc_track_guest = track.unwrap_or(false);
}

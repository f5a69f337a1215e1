//! `events`: follows until interrupted, or until the VM is gone.

use std::io::Write;

use qmp::{CloseReason, Delivery, Event, Session};
use tokio::signal::unix::{SignalKind, signal};

use super::{InspectError, Output, escape};

pub(super) async fn follow(
    session: &Session,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    // The session's own queue: it also has what came since the connection was made.
    let mut events = session
        .critical_events()
        .unwrap_or_else(|| session.events());
    // Caught from here on: an interrupt is how this ends well.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(InspectError::Signal)?;
    loop {
        let delivery = tokio::select! {
            delivery = events.next() => delivery,
            _ = interrupt.recv() => return Ok(()),
        };
        let line = match delivery {
            Some(Delivery::Event(event)) => line(&event, output),
            Some(Delivery::Missed(count)) => missed(count, output),
            None => break,
        };
        // Whoever reads a pipe wants the event now.
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(InspectError::Output)?;
    }
    match session.closed().await {
        CloseReason::Eof { .. } => Ok(()),
        reason => Err(InspectError::Ended(reason)),
    }
}

fn line(event: &Event, output: Output) -> String {
    match output {
        Output::Json => escape::json(&event.to_json().to_string()),
        Output::Table => {
            let time = utc(event.seconds, event.microseconds);
            let name = escape::text(&event.name);
            if event.data.is_null() {
                return format!("{time}  {name}");
            }
            format!("{time}  {name}  {}", escape::json(&event.data.to_string()))
        }
    }
}

fn missed(count: u64, output: Output) -> String {
    match output {
        Output::Json => serde_json::json!({ "missed": count }).to_string(),
        Output::Table => format!("({count} events missed)"),
    }
}

/// RFC 3339 in UTC, since the host's zone says nothing to whoever reads a pod's log.
fn utc(seconds: i64, microseconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microseconds:06}Z")
}

/// Days since 1970 to a date: 400 years have 146097 days, and a year counted from March ends with its leap day.
fn civil(days: i64) -> (i64, i64, i64) {
    // Far outside any clock; keeps the arithmetic from overflowing.
    let days = days.clamp(-1_000_000, 100_000_000) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(utc(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(utc(951_782_400, 7), "2000-02-29T00:00:00.000007Z");
        assert_eq!(utc(1_795_478_706, 345_682), "2026-11-24T00:05:06.345682Z");
        assert_eq!(utc(-1, -1), "1969-12-31T23:59:59.-00001Z");
        assert!(!utc(i64::MAX, i64::MIN).is_empty());
        assert!(!utc(i64::MIN, i64::MAX).is_empty());
    }
}

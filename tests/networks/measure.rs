//! Rounds in which the guests take turns.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::node::{log, nic};

use super::guests::{Guest, OUTSIDE, PORT};

/// What is measured: its name, the order to the guest, how its answer is read; more is better but for `ping`.
pub(crate) const MEASURES: [(&str, &str); 3] = [
    ("TCP, 1 stream", "iperf3 1"),
    ("TCP, 4 streams", "iperf3 4"),
    ("ping, round trip", "ping"),
];

/// By measure, then by guest: a value a round.
pub(crate) type Measured = Vec<(String, Vec<(String, Vec<f64>)>)>;

pub(crate) fn rounds(guests: &mut [Guest], rounds: usize) -> Result<Measured> {
    let mut values: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    // The first one warms caches up and does not count.
    for round in 0..=rounds {
        for (which, (name, order)) in MEASURES.iter().enumerate() {
            for (who, guest) in guests.iter().enumerate() {
                let value = one(guest, order).with_context(|| {
                    format!("{}: {name}; it said\n{}", guest.name, guest.said())
                })?;
                log(&format!(
                    "round {round}: {name}: {}: {value:.3}",
                    guest.name
                ));
                if round > 0 {
                    values.entry((which, who)).or_default().push(value);
                }
            }
        }
    }
    let by_guest = |which: usize| {
        let guests = guests.iter().enumerate();
        let named =
            guests.map(|(who, guest)| (guest.name.to_owned(), values[&(which, who)].clone()));
        named.collect()
    };
    let measures = MEASURES.iter().enumerate();
    Ok(measures
        .map(|(which, (name, _))| ((*name).to_owned(), by_guest(which)))
        .collect())
}

/// Mbit/s, or ms.
fn one(guest: &Guest, order: &str) -> Result<f64> {
    let (program, streams) = order.split_once(' ').unwrap_or((order, ""));
    let script = format!(
        "echo {program} {OUTSIDE} {streams} | busybox nc -w 300 {} {PORT}",
        guest.address
    );
    let said = nic::wire_output("sh", &["-c", &script])?;
    let value = match program {
        "ping" => round_trip(&said),
        _ => throughput(&said),
    };
    value.with_context(|| format!("`{order}` told: {said}"))
}

/// iperf3: what the host outside received.
fn throughput(said: &str) -> Option<f64> {
    let told: Value = serde_json::from_str(said).ok()?;
    Some(told["end"]["sum_received"]["bits_per_second"].as_f64()? / 1e6)
}

/// busybox: `round-trip min/avg/max = 0.1/0.2/0.3 ms`.
fn round_trip(said: &str) -> Option<f64> {
    let (_, numbers) = said.split_once("min/avg/max = ")?;
    numbers.split('/').nth(1)?.parse().ok()
}

//! Many commands at once, and many events: what one costs where nobody waits for each.

use std::io::Write;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::control::Pair;
use crate::report::Report;
use crate::sample::us;
use crate::wire::Wire;

/// Commands of one batch.
const PIPELINED: u16 = 2000;
/// Pairs of `stop` and `cont`, an event each.
const PAIRS: u16 = 200;
/// Who else listens to a storm.
const LISTENERS: usize = 4;

/// Batches in turns.
pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let mut pair = Pair::start().await?;
    let mut ours = pair.supervisor()?;
    let (mut raw, mut through) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        raw.push(pipelined(&mut pair.bare)?);
        through.push(pipelined(&mut ours)?);
    }
    report.add(
        "throughput: a pipelined query",
        "µs",
        &[("raw QMP", raw), ("through the supervisor", through)],
    );
    let (mut raw, mut through) = (Vec::new(), Vec::new());
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        listeners.push(pair.supervisor()?);
    }
    for _ in 0..rounds {
        raw.push(storm(&mut pair.bare, &mut [])?);
        through.push(storm(&mut ours, &mut listeners)?);
    }
    report.add(
        "throughput: a command that brings an event",
        "µs",
        &[
            ("raw QMP, one client", raw),
            ("supervisor, five clients", through),
        ],
    );
    pair.end()
}

/// Written by another thread: neither side's buffer must stop the other.
fn batch(wire: &mut Wire, text: String, replies: u16) -> Result<()> {
    let mut writer = wire.writer()?;
    let written = std::thread::spawn(move || writer.write_all(text.as_bytes()));
    for _ in 0..replies {
        wire.reply()?;
    }
    written
        .join()
        .map_err(|_| anyhow::anyhow!("the writer"))??;
    Ok(())
}

/// Microseconds for each.
fn pipelined(wire: &mut Wire) -> Result<f64> {
    let text = "{\"execute\":\"query-status\",\"id\":1}\n".repeat(PIPELINED.into());
    let started = Instant::now();
    batch(wire, text, PIPELINED)?;
    Ok(us(started) / f64::from(PIPELINED))
}

/// Microseconds for each command, until every client has every event.
fn storm(wire: &mut Wire, listeners: &mut [Wire]) -> Result<f64> {
    let text = "{\"execute\":\"stop\",\"id\":1}\n{\"execute\":\"cont\",\"id\":1}\n";
    let commands = 2 * PAIRS;
    let before: Vec<u64> = listeners.iter().map(|one| one.events).collect();
    let started = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let heard: Vec<_> = listeners
            .iter_mut()
            .zip(before)
            .map(|(one, before)| {
                scope.spawn(move || one.events_until(before + u64::from(commands)))
            })
            .collect();
        batch(wire, text.repeat(PAIRS.into()), commands)?;
        for listener in heard {
            let result = listener.join();
            ensure!(result.is_ok_and(|one| one.is_ok()), "a client lost events");
        }
        Ok(())
    })?;
    Ok(us(started) / f64::from(commands))
}

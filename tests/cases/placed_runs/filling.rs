//! What a run says while its huge pages are filled.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hugepages::PageSize;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;
use tests::pools::Held;
use tests::process::{Started, Stream};
use tests::run::{Launch, Run, SOON};
use tests::world::World;

use super::{Gate, end, huge};

const GUEST: u64 = 512 << 20;
const PAGES: u64 = GUEST >> 21;

/// Where a run talks to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Terminal,
    Pipe,
}

/// A run that sees half of its pages go, for as long as it takes to be told, and then all; every line it said.
///
/// It goes by how many are free (node's count), whoever takes them: so that we can, while QEMU waits. QEMU itself is not to
/// be stopped half way, since the kernel fills all of a thread's part in one call (madvise(2), MADV_POPULATE_WRITE).
fn held_up_half_way(world: &World, gate: &Gate, place: Where, options: &[&str]) -> Result<Run> {
    let file = world.path().join("vmi.json");
    fs::write(&file, huge("2Mi", "512Mi").to_string())?;
    let launch = Launch::plain()
        .args(&["--vmi", file.as_str(), "--qemu", gate.qemu.as_str()])
        .args(options);
    let (mut run, _keys) = match place {
        Where::Terminal => {
            let (started, keys) = Started::on_terminal(&mut launch.command())?;
            (Run::from(started), Some(keys))
        }
        Where::Pipe => (launch.start()?, None),
    };
    gate.reached()?;
    let ours = memfd_create(c"half", MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB)?;
    let half = i64::try_from(GUEST / 2)?;
    fallocate(&ours, FallocateFlags::empty(), 0, half)?;
    // The counts are looked at ten times a second.
    std::thread::sleep(Duration::from_secs(1));
    drop(ours);
    gate.open()?;
    run.wait_for("left paused as asked", SOON)?;
    end(&mut run)?;
    world.is_clean(SOON)?;
    Ok(run)
}

#[test]
fn a_terminal_shows_a_bar_in_place_and_a_log_has_events_instead() -> Result<()> {
    let mut held = Held::hold();
    held.add(PageSize::MIB_2, PAGES);
    let world = World::enter()?;
    let gate = Gate::build(&world)?;
    let held_up = |place, options: &[&str]| held_up_half_way(&world, &gate, place, options);

    let run = held_up(Where::Terminal, &[])?;
    let said = run.seen().join("\n");
    // Each takes the place of the one before, and the step's own line that of the last.
    let shown = said.split('\n').find(|line| line.contains("filled"));
    let places: Vec<&str> = shown.context("no bar")?.split("\r\u{1b}[K").collect();
    let (step, bars) = places.split_last().context("no bar")?;
    ensure!(
        step.starts_with("memory: 512Mi in pages of 2Mi"),
        "{said:?}"
    );
    for bar in bars {
        ensure!(
            bar.starts_with("memory: [") && bar.ends_with(" of 512Mi filled"),
            "{said:?}"
        );
    }
    ensure!(
        bars.iter().any(|bar| bar.contains(": [##########")),
        "{said:?}"
    );
    let run = held_up(Where::Pipe, &[])?;
    let said = run.seen().join("\n");
    ensure!(!said.contains('\u{1b}') && !said.contains("[#"), "{said}");
    let told = run
        .seen()
        .iter()
        .filter(|line| line.ends_with(" of 512Mi filled"));
    ensure!((1..=10).contains(&told.count()), "{said}");

    // Whoever asks for JSON has events, also on a terminal.
    for place in [Where::Pipe, Where::Terminal] {
        let run = held_up(place, &["--log-format", "json"])?;
        let stream = match place {
            Where::Pipe => Stream::Err,
            Where::Terminal => Stream::Out,
        };
        let mut filled = Vec::new();
        for line in run.said(stream) {
            let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            ensure!(event["event"] != "progress", "{line}");
            if event["event"] == "memory-filling" {
                ensure!(event["wanted"] == GUEST, "{line}");
                filled.push(event["filled"].as_u64().context("bytes")?);
            }
        }
        ensure!(
            filled.is_sorted()
                && filled
                    .iter()
                    .any(|bytes| (GUEST / 2..GUEST).contains(bytes)),
            "{filled:?}"
        );
    }
    held.release();
    Ok(())
}

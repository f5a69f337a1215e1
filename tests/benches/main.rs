//! `bench [FILTER] [--rounds N]`: what a launch, a stop, a round trip and a pod's memory cost, beside a bare QEMU with the
//! same arguments.
//!
//! All of it happens in namespaces made here. Within a round the variants take turns, so that a machine that slows down
//! slows all of them; what counts are ratios of medians in one run. `docs/performance.md` shows a run.

mod control;
mod launch;
mod memory;
mod picture;
mod placement;
mod plan;
mod pod;
mod prefault;
mod report;
mod sample;

use std::process::ExitCode;

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use report::Report;

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Asked {
    filter: String,
    rounds: usize,
    out: Utf8PathBuf,
}

fn asked() -> Result<Asked> {
    let mut asked = Asked {
        filter: String::new(),
        rounds: 15,
        out: tests::project().join("target/bench"),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--rounds" => asked.rounds = value()?.parse()?,
            "--out" => asked.out = value()?.into(),
            _ => asked.filter = arg,
        }
    }
    Ok(asked)
}

#[expect(clippy::print_stdout, reason = "this is the program's answer")]
fn run() -> Result<()> {
    let asked = asked()?;
    pod::enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut report = Report::default();
    let wanted = |row: &str| row.contains(&asked.filter);
    for shape in launch::SHAPES {
        if wanted(&format!("launch {}", shape.name)) {
            runtime.block_on(launch::measure(shape, asked.rounds, &mut report))?;
        }
    }
    if wanted("memory") {
        runtime.block_on(memory::measure(&mut report))?;
    }
    if wanted("control") {
        runtime.block_on(control::measure(&mut report))?;
    }
    if wanted("plan") {
        plan::measure(asked.rounds, &mut report)?;
    }
    if wanted("placement") {
        placement::measure(asked.rounds, &mut report)?;
    }
    if wanted("prefault") {
        runtime.block_on(prefault::measure(asked.rounds, &mut report))?;
    }
    print!("{}", report.table());
    std::fs::create_dir_all(&asked.out)?;
    std::fs::write(
        asked.out.join("bench.json"),
        serde_json::to_string_pretty(&report)?,
    )?;
    std::fs::write(asked.out.join("bench.svg"), picture::draw(&report))?;
    Ok(())
}

//! What a plan costs by itself: parse, facts of a fixture host, plan.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::launch::{SHAPES, ms, program, vmi};
use crate::report::Report;

/// The whole command, beside the program doing nothing.
pub(crate) fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let host = tests::project().join("tests/hosts/two-node");
    for shape in SHAPES {
        let file = directory.path().join("vmi.json");
        std::fs::write(&file, vmi(shape)?)?;
        let file = file.to_string_lossy().into_owned();
        let (mut nothing, mut plan) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let version = timed(&["--version"])?;
            let planned = timed(&[
                "plan",
                "--output",
                "json",
                "--host",
                host.as_str(),
                "--vmi",
                &file,
            ])?;
            if round > 0 {
                nothing.push(version);
                plan.push(planned);
            }
        }
        report.add(
            format!("plan, {}", shape.name),
            "ms",
            &[("--version", nothing), ("plan", plan)],
        );
    }
    Ok(())
}

fn timed(args: &[&str]) -> Result<f64> {
    let program = program()?;
    let started = Instant::now();
    let status = Command::new(&program)
        .args(args)
        .stdout(Stdio::null())
        .status()?;
    let elapsed = ms(started);
    ensure!(status.success(), "`{program} {}` failed", args.join(" "));
    Ok(elapsed)
}

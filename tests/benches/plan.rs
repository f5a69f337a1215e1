//! What a plan costs by itself: parse, facts of a fixture host, plan, from one vCPU and disk to many.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::program;
use crate::report::Report;
use crate::sample::ms;
use crate::shape::{SHAPES, Shape, file, vmi};

const USUAL: Shape = SHAPES[0];

/// The whole command, beside the program doing nothing.
pub(crate) fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let host = tests::project().join("tests/hosts/two-node");
    let vcpus = [1, 8, 64, 255].map(|vcpus| Shape { vcpus, ..USUAL });
    let disks = [16, 64, 256].map(|disks| Shape { disks, ..USUAL });
    let shapes = vcpus.into_iter().chain(disks);
    let files = shapes
        .map(|shape| {
            let mut vmi = vmi(&shape)?;
            if shape.disks > 16 {
                // More than PCI has room for: they share a controller.
                let disks = vmi["spec"]["domain"]["devices"]["disks"].as_array_mut();
                for disk in disks.into_iter().flatten() {
                    disk["disk"]["bus"] = "scsi".into();
                }
            }
            Ok((shape, file(&vmi)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut nothing = Vec::new();
    let mut plans = vec![Vec::new(); files.len()];
    for round in 0..=rounds {
        let version = timed(&["--version"])?;
        for ((_, (_, file)), times) in files.iter().zip(&mut plans) {
            let args = ["plan", "--output", "json", "--host", host.as_str(), "--vmi"];
            let planned = timed(&[&args[..], &[file.as_str()]].concat())?;
            if round > 0 {
                times.push(planned);
            }
        }
        if round > 0 {
            nothing.push(version);
        }
    }
    let names: Vec<String> = files
        .iter()
        .map(|(Shape { vcpus, disks, .. }, _)| format!("{vcpus} vCPUs, {disks} disks"))
        .collect();
    let mut variants = vec![("--version", nothing)];
    variants.extend(names.iter().map(String::as_str).zip(plans));
    report.add("plan, the whole command", "ms", &variants);
    Ok(())
}

fn timed(args: &[&str]) -> Result<f64> {
    let program = program()?;
    let started = Instant::now();
    let output = Command::new(&program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let elapsed = ms(started);
    ensure!(
        output.status.success(),
        "`{program} {}` failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(elapsed)
}

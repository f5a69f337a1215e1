//! Many pods at once: whether what one costs stays what it costs.
//!
//! The guests are left paused, so that those which are up first do not take the CPUs from the rest; they have no kernel, so
//! that a hundred fit. A bare QEMU's program waits in its pod for the same word.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::Utf8Path;
use serde_json::{Value, json};

use crate::memory::{of, ours, sum};
use crate::pod::{Network, Pod, command, elapsed_ms};
use crate::program;
use crate::report::Report;
use crate::sample::ms;
use crate::shape::{file, guest, idle_vmi, planned};

/// How many, and in how many rounds for each that `--rounds` asks for, of 15.
const SCALES: [(usize, usize); 3] = [(1, 15), (10, 15), (100, 5)];

pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let mut vmi = idle_vmi()?;
    vmi["spec"]["startStrategy"] = json!("Paused");
    vmi["spec"]["domain"]["memory"]["guest"] = json!("64Mi");
    let (directory, file) = file(&vmi)?;
    let plan = Utf8Path::from_path(directory.path())
        .context("a path in UTF-8")?
        .join("plan.json");
    std::fs::write(&plan, serde_json::to_string(&planned(&vmi).await?)?)?;
    let bench = std::env::current_exe()?;
    let bare_command = format!("{} --bare {plan}", bench.display());
    let our_command = command(&program()?, &file, &guest());
    for (count, share) in SCALES {
        let rounds = (rounds * share).div_ceil(15);
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        let (mut bare_all, mut ours_all) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let (each, all) = bare_at_once(count, &bare_command)?;
            bare.extend(each);
            bare_all.push(all);
            let last = round + 1 == rounds;
            let row = last.then_some(&mut *report);
            let (each, all) = ours_at_once(count, &our_command, row)?;
            ours.extend(each);
            ours_all.push(all);
        }
        report.add(
            format!("launch, {count} at once: each"),
            "ms",
            &[("bare QEMU", bare), ("virt-launcher", ours)],
        );
        report.add(
            format!("launch, {count} at once: until the last"),
            "ms",
            &[("bare QEMU", bare_all), ("virt-launcher", ours_all)],
        );
    }
    Ok(())
}

fn pods(count: usize, command: &str) -> Result<Vec<Pod>> {
    (0..count)
        .map(|_| Pod::make(command, (Network::Prepared, 1)))
        .collect()
}

fn bare_at_once(count: usize, command: &str) -> Result<(Vec<f64>, f64)> {
    let mut pods = pods(count, command)?;
    for pod in &mut pods {
        pod.go()?;
        // It is ready.
        pod.line()?;
    }
    let started = Instant::now();
    for pod in &mut pods {
        pod.say("start")?;
    }
    let mut each = Vec::new();
    for pod in &mut pods {
        each.push(pod.line()?.parse()?);
    }
    Ok((each, ms(started)))
}

fn ours_at_once(
    count: usize,
    command: &str,
    report: Option<&mut Report>,
) -> Result<(Vec<f64>, f64)> {
    let mut pods = pods(count, command)?;
    let started = Instant::now();
    for pod in &mut pods {
        pod.say("go")?;
    }
    let mut each = Vec::new();
    for pod in &mut pods {
        pod.executed = pod.line()?.parse()?;
        let paused: Value = pod.event("guest-paused")?;
        each.push(elapsed_ms(pod.executed, &paused)?);
    }
    let all = ms(started);
    if let Some(report) = report {
        idle(count, &pods, report)?;
    }
    Ok((each, all))
}

/// What all of them hold and do while nothing happens.
fn idle(count: usize, pods: &[Pod], report: &mut Report) -> Result<()> {
    let mut usage = crate::memory::Usage::default();
    let mut pids = Vec::new();
    for pod in pods {
        usage = sum(&usage, &of(pod)?);
        pids.extend(ours(pod)?);
    }
    let wakeups = || -> Result<u64> { pids.iter().map(|pid| switches(*pid)).sum() };
    let before = wakeups()?;
    std::thread::sleep(Duration::from_secs(2));
    let woken = wakeups()? - before;
    let each = f64::from(usage.pss) / f64::from(u32::try_from(count)?);
    report.add(
        format!("memory of all but QEMU: PSS of each of {count} pods"),
        "KiB",
        &[("PID 1 and supervisor", vec![each])],
    );
    report.add(
        format!("wakeups of all but QEMU in 2 s, {count} pods"),
        "",
        &[(
            "PID 1 and supervisor",
            vec![f64::from(u32::try_from(woken)?)],
        )],
    );
    Ok(())
}

/// How often a process went to sleep (`proc_pid_status(5)`): each is a wakeup before it.
fn switches(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(line.context("proc_pid_status(5)")?.trim().parse()?)
}

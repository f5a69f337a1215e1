//! From the program's exec to `cont`, and from the kill to the end, beside a bare QEMU with the very same arguments.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use launcher::apply::files;
use launcher::cli::args::VmArgs;
use launcher::cli::plan::{Wanted, prepare};
use launcher::monitor::spawn::spawn;
use launcher::net::setup::open_taps;
use launcher::plan::LaunchPlan;
use launcher::qemu::spawn_request;
use qmp::{Options, Session};
use serde_json::{Value, json};

use crate::pod::{Pod, elapsed_ms};
use crate::report::Report;

const ANSWER: Duration = Duration::from_secs(60);

/// A guest to start.
pub(crate) struct Shape {
    /// For the table.
    pub(crate) name: &'static str,
    vcpus: u32,
    disks: u32,
}

/// Small, wide, and with many disks.
pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "1 vCPU, 1 disk",
        vcpus: 1,
        disks: 1,
    },
    Shape {
        name: "8 vCPUs, 1 disk",
        vcpus: 8,
        disks: 1,
    },
    Shape {
        name: "64 vCPUs, 1 disk",
        vcpus: 64,
        disks: 1,
    },
    Shape {
        name: "1 vCPU, 16 disks",
        vcpus: 1,
        disks: 16,
    },
];

/// The VMI's text: no grace, so that a stop is QEMU's own.
pub(crate) fn vmi(shape: &Shape) -> Result<String> {
    let text = std::fs::read_to_string(tests::project().join("examples/masquerade.json"))?;
    let mut vmi: Value = serde_json::from_str(&text)?;
    let spec = &mut vmi["spec"];
    spec["terminationGracePeriodSeconds"] = json!(0);
    spec["domain"]["cpu"] = json!({"sockets": 1, "cores": shape.vcpus});
    let disks: Vec<Value> = (0..shape.disks)
        .map(|disk| json!({"name": format!("d{disk}"), "disk": {"bus": "virtio"}}))
        .collect();
    let volumes: Vec<Value> = (0..shape.disks)
        .map(|disk| json!({"name": format!("d{disk}"), "emptyDisk": {"capacity": "64Mi"}}))
        .collect();
    spec["domain"]["devices"]["disks"] = disks.into();
    spec["volumes"] = volumes.into();
    Ok(vmi.to_string())
}

/// The program that ships.
pub(crate) fn program() -> Result<Utf8PathBuf> {
    let own = Utf8PathBuf::try_from(std::env::current_exe()?)?;
    Ok(own
        .parent()
        .context("a program lies in a directory")?
        .join("virt-launcher"))
}

/// Where the guest is.
pub(crate) fn guest() -> Utf8PathBuf {
    tests::guest::kernel_boot_dir()
}

/// Rounds in which both take turns.
pub(crate) async fn measure(shape: &Shape, rounds: usize, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = Utf8PathBuf::try_from(directory.path().join("vmi.json"))?;
    let text = vmi(shape)?;
    std::fs::write(&file, &text)?;
    let plan = planned(&text).await?;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    let (mut bare_stop, mut ours_stop) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let b = Bare::start(&plan).await?;
        let (start, stop) = (b.ms, b.stop().await?);
        let (ours_start, ours_end) = launched(&file)?;
        // The first round warms caches.
        if round > 0 {
            bare.push(start);
            bare_stop.push(stop);
            ours.push(ours_start);
            ours_stop.push(ours_end);
        }
    }
    report.add(
        format!("launch to running, {}", shape.name),
        "ms",
        &[("bare QEMU", bare), ("virt-launcher, network made", ours)],
    );
    report.add(
        format!("stop, {}", shape.name),
        "ms",
        &[
            ("bare QEMU, quit to gone", bare_stop),
            ("virt-launcher, kill to PID 1 gone", ours_stop),
        ],
    );
    Ok(())
}

fn launched(vmi: &Utf8PathBuf) -> Result<(f64, f64)> {
    let mut pod = Pod::start(&program()?, vmi, &guest())?;
    let running = pod.event("guest-running")?;
    let start = elapsed_ms(pod.executed, &running)?;
    let stopping = Instant::now();
    pod.end()?;
    Ok((start, ms(stopping)))
}

/// The plan that a pod like ours would carry out.
pub(crate) async fn planned(text: &str) -> Result<LaunchPlan> {
    let args = VmArgs {
        vmi: None,
        kernel_boot_dir: Some(guest()),
        disks: Vec::new(),
        allow_emulation: true,
        placement_policy: None,
        metrics_address: None,
        qemu: "qemu-system-x86_64".into(),
    };
    prepare(text, &args, Wanted::Run)
        .await
        .map_err(|refused| anyhow::anyhow!("no plan: {refused:?}"))
}

/// A QEMU without a launcher.
pub(crate) struct Bare {
    /// From fork to `cont`'s answer.
    pub(crate) ms: f64,
    /// Its monitor.
    pub(crate) session: Session,
    child: std::process::Child,
}

impl Bare {
    /// Images and taps are there before the clock runs.
    pub(crate) async fn start(plan: &LaunchPlan) -> Result<Self> {
        let images = launcher::storage::prepare::prepare(&plan.storage)?;
        let taps = open_taps(&plan.network)?;
        let files: Vec<OwnedFd> = files::open(plan, &taps)?;
        let request = spawn_request(plan);
        let started = Instant::now();
        let child = spawn(&request, files)?;
        let options = Options {
            greeting: ANSWER,
            ..Options::default()
        };
        let session = Session::connect(plan.paths.qmp(plan.uid).as_std_path(), options).await?;
        session.execute_raw("cont", json!({}), ANSWER).await?;
        let ms = ms(started);
        drop((images, taps));
        Ok(Self { ms, session, child })
    }

    /// From `quit` to the process gone, in ms.
    pub(crate) async fn stop(mut self) -> Result<f64> {
        let started = Instant::now();
        // It may end before it answers.
        let _answer = self.session.execute_raw("quit", json!({}), ANSWER).await;
        self.child.wait()?;
        Ok(ms(started))
    }
}

/// Milliseconds since.
pub(crate) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

//! From the program's exec to `cont`, and from the kill to the end, beside a bare QEMU with the very same arguments, and
//! beside libvirt.

use std::time::Instant;

use anyhow::Result;
use camino::Utf8Path;

use crate::bare::Bare;
use crate::libvirt::{Cache, Libvirt};
use crate::pod::{Network, Pod, elapsed_ms};
use crate::program;
use crate::report::Report;
use crate::sample::ms;
use crate::shape::{Shape, file, guest, planned, vmi};
use crate::timeline::Timeline;

/// What one variant's rounds gave.
#[derive(Default)]
struct Times {
    start: Vec<f64>,
    stop: Vec<f64>,
}

impl Times {
    /// The first round warms caches.
    fn add(&mut self, round: usize, (start, stop): (f64, f64)) {
        if round > 0 {
            self.start.push(start);
            self.stop.push(stop);
        }
    }
}

/// Rounds in which all take turns; with libvirt where `peer` says so.
pub(crate) async fn measure(
    shape: &Shape,
    rounds: usize,
    peer: bool,
    report: &mut Report,
) -> Result<()> {
    let vmi = vmi(shape)?;
    let (_directory, file) = file(&vmi)?;
    let plan = planned(&vmi).await?;
    let (mut bare, mut found, mut made) = (Times::default(), Times::default(), Times::default());
    let (mut warm, mut kept, mut cold) = (Times::default(), Times::default(), Times::default());
    let mut timelines = [Timeline::default(), Timeline::default()];
    for round in 0..=rounds {
        let one = Bare::start(&plan).await?;
        bare.add(round, (one.ms, one.stop().await?));
        for (network, times, timeline) in [
            (Network::Prepared, &mut found, 0),
            (Network::Made, &mut made, 1),
        ] {
            times.add(
                round,
                launched(&file, network, shape.nics, &mut timelines[timeline])?,
            );
        }
        if peer {
            let mut libvirt = Libvirt::start(&plan, Cache::Cold)?;
            let first = (libvirt.ms + libvirt.create()?, libvirt.destroy()?);
            cold.add(round, first);
            warm.add(round, (libvirt.create()?, libvirt.destroy()?));
            drop(libvirt);
            let mut libvirt = Libvirt::start(&plan, Cache::Kept)?;
            let first = (libvirt.ms + libvirt.create()?, libvirt.destroy()?);
            kept.add(round, first);
        }
    }
    let mut starts = vec![
        ("bare QEMU", bare.start),
        ("virt-launcher, network prepared", found.start),
        ("virt-launcher, network made", made.start),
    ];
    let mut stops = vec![
        ("bare QEMU, quit to gone", bare.stop),
        ("virt-launcher, kill to PID 1 gone", found.stop),
        ("the same, network made", made.stop),
    ];
    if peer {
        starts.push(("libvirt, daemon runs", warm.start));
        starts.push(("libvirt, new daemon, kept cache", kept.start));
        starts.push(("libvirt, new daemon, no cache", cold.start));
        stops.push(("libvirt, destroy", warm.stop));
    }
    report.add(format!("launch to running: {}", shape.name), "ms", &starts);
    report.add(format!("stop: {}", shape.name), "ms", &stops);
    if peer {
        let [found, made] = timelines;
        report.timeline("launch, network prepared", &found);
        report.timeline("launch, network made", &made);
    }
    Ok(())
}

fn launched(
    vmi: &Utf8Path,
    network: Network,
    nics: u32,
    timeline: &mut Timeline,
) -> Result<(f64, f64)> {
    let mut pod = Pod::start(&program()?, vmi, &guest(), (network, nics))?;
    let (before, running) = pod.until("guest-running")?;
    let start = elapsed_ms(pod.executed, &running)?;
    timeline.add(pod.executed, &before, &running)?;
    let stopping = Instant::now();
    pod.end()?;
    Ok((start, ms(stopping)))
}

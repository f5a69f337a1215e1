//! What placing costs on a large host: 512 vCPUs on 16 nodes of 64 CPUs, beside reading that host's files.

use std::time::Instant;

use anyhow::{Result, anyhow};
use hugepages::{Bytes, PageSize};
use launcher::host::HostFacts;
use launcher::placement::Policy;
use launcher::placement::devices::DeviceFacts;
use launcher::placement::place::place_near;
use launcher::spec::Spec;
use launcher::vmi;
use tests::hosts::a_thousand_cpus;

use crate::report::Report;
use crate::sample::ms;

pub(crate) fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let (_keep, root) = a_thousand_cpus().make();
    let facts = HostFacts::read(&root, Vec::new())?;
    let devices: Vec<DeviceFacts> = facts
        .pci
        .values()
        .map(|device| DeviceFacts {
            name: device.id.clone(),
            path: "spec.domain.devices".to_owned(),
            address: device.address.to_string(),
            node: device.node,
        })
        .collect();
    let specs = [
        ("in KubeVirt's order", spec(false, Policy::None)?),
        ("near a device", spec(false, Policy::Prefer)?),
        ("with guest nodes", spec(true, Policy::Prefer)?),
    ];
    let mut read = Vec::new();
    let mut placed = vec![Vec::new(); specs.len()];
    for round in 0..=rounds {
        let started = Instant::now();
        HostFacts::read(&root, Vec::new())?;
        let reading = ms(started);
        for ((_, spec), times) in specs.iter().zip(&mut placed) {
            let started = Instant::now();
            place_near(spec, &facts, &devices).map_err(|misfits| anyhow!("{misfits:?}"))?;
            if round > 0 {
                times.push(ms(started));
            }
        }
        if round > 0 {
            read.push(reading);
        }
    }
    let mut variants = vec![("read the host", read)];
    variants.extend(specs.iter().map(|(name, _)| *name).zip(placed));
    report.add("place 512 vCPUs on 1024 CPUs, 16 nodes", "ms", &variants);
    Ok(())
}

/// 256 cores of two threads, an isolated emulator, pages of 1Gi.
fn spec(numa: bool, policy: Policy) -> Result<Spec> {
    let text = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm}\n\
                spec: {domain: {memory: {guest: 1Gi}}}";
    let (mut spec, _) = Spec::from_vmi(&vmi::read(text)?)?;
    spec.cpu.cores = 256;
    spec.cpu.threads = 2;
    spec.cpu.dedicated = true;
    spec.cpu.isolate_emulator = true;
    spec.cpu.numa_passthrough = numa;
    spec.memory.guest = Bytes(1024 << 30);
    spec.memory.hugepages = Some(PageSize::GIB_1);
    spec.placement.policy = policy;
    Ok(spec)
}

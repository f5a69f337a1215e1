//! How long it takes to read a host of 1280 CPUs on 16 nodes, and to place 512 vCPUs on it. Nothing is asserted.
//!
//! `cargo bench -p tests --bench placement`

use std::time::{Duration, Instant};

use hugepages::{Bytes, PageSize};
use launcher::host::HostFacts;
use launcher::placement::Policy;
use launcher::placement::devices::DeviceFacts;
use launcher::placement::place::place_near;
use launcher::spec::Spec;
use launcher::vmi;
use tests::hosts::sixteen_nodes;

const RUNS: usize = 25;

fn main() {
    let (_keep, root) = sixteen_nodes().make();
    report("read the host's sysfs", 5, || {
        HostFacts::read(&root, Vec::new()).expect("facts");
    });
    let facts = HostFacts::read(&root, Vec::new()).expect("facts");
    let devices: Vec<DeviceFacts> = facts
        .devices
        .iter()
        .map(|device| DeviceFacts {
            name: device.variable.clone(),
            path: "spec.domain.devices".to_owned(),
            address: device.address.clone(),
            node: device.node,
        })
        .collect();
    for (name, numa, policy) in [
        ("in KubeVirt's order", false, Policy::None),
        ("near a device", false, Policy::Prefer),
        (
            "near a device, the guest sees its nodes",
            true,
            Policy::Prefer,
        ),
    ] {
        let spec = spec(numa, policy);
        report(&format!("place 512 vCPUs {name}"), RUNS, || {
            place_near(&spec, &facts, &devices).expect("they fit");
        });
    }
}

/// 256 cores of two threads, an isolated emulator, pages of 1Gi.
fn spec(numa: bool, policy: Policy) -> Spec {
    let text = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm}\n\
                spec: {domain: {memory: {guest: 1Gi}}}";
    let document = vmi::read(text).expect("a VMI");
    let (mut spec, _) = Spec::from_vmi(&document).expect("a VMI");
    spec.cpu.cores = 256;
    spec.cpu.threads = 2;
    spec.cpu.dedicated = true;
    spec.cpu.isolate_emulator = true;
    spec.cpu.numa_passthrough = numa;
    spec.memory.guest = Bytes(1024 << 30);
    spec.memory.hugepages = Some(PageSize::GIB_1);
    spec.placement.policy = policy;
    spec
}

#[expect(clippy::print_stdout, reason = "this is what a bench is for")]
fn report(what: &str, runs: usize, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{what}: median {:.2?}, fastest {:.2?}, slowest {:.2?} of {runs}",
        times[runs / 2],
        times[0],
        times[runs - 1]
    );
}

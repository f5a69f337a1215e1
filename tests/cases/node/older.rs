//! A node of an older kernel: its vhost workers are the kernel's own threads, and its cpusets are those of v1, which moves
//! no memory unless it is told to.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::cgroup::Group;
use tests::node::shape::{Cell, Iommu, Kernel, Shape};
use tests::node::{Case, kernel, log};
use tests::run::{Run, paused_vmi};
use tests::{namespace, pod};

const CELL: Cell = Cell {
    cpus: 2,
    memory: 4,
    huge_1g: 0,
    huge_2m: 64,
};

const OLDER: Shape = Shape {
    name: "older-kernel",
    cells: &[CELL, CELL],
    threads: 1,
    nics: &[],
    iommu: Iommu::None,
    iommufd: false,
    kernel: Kernel::Older,
};

pub(crate) const CASES: &[Case] = &[Case {
    name: "vhost-of-the-kernels-own-and-a-cpuset-of-v1",
    shape: &OLDER,
    run: of_its_own,
}];

const LONG: Duration = Duration::from_secs(120);
/// Of a guest of 64 MiB.
const PAGES: u64 = 32;

/// A vCPU and an emulator of their own, huge pages, a NIC; never run.
fn vmi() -> Value {
    let mut vmi = paused_vmi();
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    vmi["spec"]["networks"] = json!([{"name": "default", "pod": {}}]);
    vmi["spec"]["domain"] = json!({
        "cpu": {"cores": 1, "dedicatedCpuPlacement": true, "isolateEmulatorThread": true},
        "memory": {"guest": "64Mi", "hugepages": {"pageSize": "2Mi"}},
        "resources": {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        "devices": {"interfaces": [{"name": "default", "masquerade": {}}]},
    });
    vmi
}

/// A cpuset of v1: the controller is v2's until no group of v2 has it any more.
fn cpuset() -> Result<Group> {
    for group in [kernel::cgroup_parent(), "/sys/fs/cgroup".into()] {
        kernel::write(group.join("cgroup.subtree_control"), "-cpuset")?;
    }
    namespace::enter_fresh_network()?;
    pod::until(Duration::from_secs(10), || Group::make("cpuset"))
}

/// Processes of this name, the kernel's own among them.
fn named(name: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        // One that has just ended has no name.
        if kernel::status(&format!("{pid}"), "Name").is_ok_and(|its| its == name) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Pages of the guest by node.
fn pages(qemu: i32) -> Result<Vec<(u32, u64)>> {
    let mappings = kernel::huge_mappings(qemu)?;
    let mapping = mappings.first().context("a mapping of huge pages")?;
    Ok(mapping.pages.clone().into_iter().collect())
}

/// QEMU's vCPU and all its other threads.
fn are_on(qemu: i32, vcpu: &str, others: &str) -> Result<()> {
    for (_, name, cpus) in kernel::threads(qemu)? {
        let wanted = if name.starts_with("CPU ") {
            vcpu
        } else {
            others
        };
        ensure!(cpus == wanted, "`{name}` is on {cpus}, not on {wanted}");
    }
    Ok(())
}

fn of_its_own() -> Result<()> {
    let release = kernel::read("/proc/sys/kernel/osrelease")?;
    ensure!(
        release.starts_with("6.1."),
        "this test needs Linux 6.1, not {release}"
    );
    let cpuset = cpuset()?;
    cpuset.set("cpuset.mems", "1")?;
    cpuset.set("cpuset.cpus", "2-3")?;
    let mut run = cpuset.launch().vmi(&vmi()).start()?;
    let result = under_it(&cpuset, &mut run);
    log(&run.seen().join("\n"));
    result?;
    run.signal(Signal::SIGTERM)?;
    run.code()?;
    Ok(())
}

fn under_it(cpuset: &Group, run: &mut Run) -> Result<()> {
    run.wait_for(
        "its workers among its own threads, which are not ours to place",
        LONG,
    )?;
    run.wait_for("left paused as asked", LONG)?;
    let qemu = run.pod()?.qemu.pid;
    let workers = named(&format!("vhost-{qemu}"))?;
    ensure!(!workers.is_empty(), "no vhost worker");
    for worker in workers {
        ensure!(kernel::status(&worker.to_string(), "PPid")? == "2");
    }
    are_on(qemu, "2", "3")?;

    cpuset.set("cpuset.cpus", "1,3")?;
    run.wait_for("vcpu 0 moves from `2` to `1`", LONG)?;
    run.wait_for("threads on `1,3`", LONG)?;
    are_on(qemu, "1", "3")?;
    cpuset.set("cpuset.cpus", "2-3")?;
    run.wait_for("the pod's CPUs changed from `1,3` to `2-3`", LONG)?;
    run.wait_for("threads on `2-3`", LONG)?;
    are_on(qemu, "2", "3")?;

    // Memory stays where it is until v1 is told to move it.
    ensure!(pages(qemu)? == [(1, PAGES)]);
    cpuset.set("cpuset.mems", "0")?;
    run.wait_for("the pod's memory nodes changed from `1` to `0`", LONG)?;
    run.wait_for(
        "guest memory stays, outside of the pod's nodes `0`: `64Mi` on node 1",
        LONG,
    )?;
    ensure!(pages(qemu)? == [(1, PAGES)]);
    cpuset.set("cpuset.mems", "1")?;
    run.wait_for("the pod's memory nodes changed from `0` to `1`", LONG)?;
    cpuset.set("cpuset.memory_migrate", "1")?;
    cpuset.set("cpuset.mems", "0")?;
    run.wait_for(
        "guest memory was moved by the kernel: `64Mi` on node 0",
        LONG,
    )?;
    ensure!(pages(qemu)? == [(0, PAGES)]);
    Ok(())
}

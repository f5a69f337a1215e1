//! Placement as the kernel has it: vhost workers beside the emulator, and a cpuset that changes under a running guest.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log};
use tests::project;

pub(crate) const CASES: &[Case] = &[Case {
    name: "placed-again-when-the-cpuset-changes",
    shape: &DEFAULT,
    run: cpuset_changes,
}];

const LONG: Duration = Duration::from_secs(90);

fn cpuset_changes() -> Result<()> {
    let text = kernel::read(project().join("examples/masquerade.json"))?;
    let mut vmi: Value = serde_json::from_str(&text)?;
    let domain = &mut vmi["spec"]["domain"];
    domain["cpu"] =
        json!({"cores": 1, "dedicatedCpuPlacement": true, "isolateEmulatorThread": true});
    let amounts = json!({"cpu": "1", "memory": "256Mi"});
    domain["resources"] = json!({"requests": amounts, "limits": amounts});
    let options = ["--cpus", "4-5", "--mems", "1", "--cap", "net_admin"];
    let mut pod = Pod::new("moved").options(options).run(&vmi)?;
    pod.started.wait_for("guest: running", LONG)?;
    let qemu = pod.qemu()?;
    // KVM's own thread, which it makes when the vCPU first runs, on the CPU of that one.
    pod.started.wait_for("thread `kvm-nx-lpage-re", LONG)?;
    pod.started.wait_for("threads on `4-5`", LONG)?;
    ensure!(kernel::status(&qemu.to_string(), "Uid")? == "107\t107\t107\t107");
    are_on(&pod, "4", "5")?;
    let (code, table) = pod.exec(&["verify"])?;
    log(&table);
    ensure!(code == Some(0), "exit code {code:?}");
    kernel::write(pod.cgroup().join("cpuset.cpus"), "5-6")?;
    pod.started
        .wait_for("the pod's CPUs changed from `4-5` to `5-6`", LONG)?;
    pod.started.wait_for("vcpu 0 moves from `4` to `6`", LONG)?;
    pod.started.wait_for("threads on `5-6`", LONG)?;
    are_on(&pod, "6", "5")?;
    // What it got back is its own again.
    kernel::write(pod.cgroup().join("cpuset.cpus"), "4-7")?;
    pod.started.wait_for("threads on `4-7`", LONG)?;
    are_on(&pod, "4", "5")
}

/// The vCPU on its CPU, all else on the other: QEMU, its vhost workers, the supervisor and PID 1.
fn are_on(pod: &Running, vcpu: &str, others: &str) -> Result<()> {
    let qemu = pod.qemu()?;
    let mut count = BTreeMap::new();
    for (_, name, cpus) in kernel::threads(qemu)? {
        let kind = match name.as_str() {
            name if name.starts_with("CPU ") => "vcpu",
            name if name.starts_with("vhost-") => "vhost",
            _ => "other",
        };
        *count.entry(kind).or_insert(0) += 1;
        let wanted = if kind == "vcpu" { vcpu } else { others };
        ensure!(cpus == wanted, "`{name}` is on {cpus}, not on {wanted}");
    }
    log(&format!("{count:?}"));
    ensure!(
        count.get("vcpu") == Some(&1) && count.contains_key("vhost"),
        "{count:?}"
    );
    for (_, name, cpus) in kernel::threads(pod.pid1()?)? {
        ensure!(cpus == others, "PID 1's `{name}` is on {cpus}");
    }
    Ok(())
}

//! What a pod is on the node: its cgroup as the kubelet leaves it, and what it may not do.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tests::need;
use tests::node::pod::Pod;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel};

pub(crate) const CASES: &[Case] = &[Case {
    name: "cpuset-changes-under-a-pod",
    shape: &DEFAULT,
    run: cpuset_changes,
}];

const LONG: Duration = Duration::from_secs(60);

/// The kubelet's CPU manager does this to pods that have no exclusive CPUs.
fn cpuset_changes() -> Result<()> {
    let options = [
        "--cpus",
        "1-2",
        "--mems",
        "0",
        "--hugetlb",
        "1GB=1073741824",
    ];
    let script = "trap 'exit 3' TERM; id -u; cat /sys/fs/cgroup/cpuset.cpus.effective; echo ready; while :; do sleep 1 & wait; done";
    let mut pod = Pod::new("cpus")
        .options(options)
        .start(&need::tool("sh"), &["-c", script])?;
    pod.started.wait_for("ready", LONG)?;
    ensure!(
        pod.started.seen() == ["107", "1-2", "ready"],
        "{:?}",
        pod.started.seen()
    );
    let init = pod.pid1()?.to_string();
    ensure!(kernel::status(&init, "Cpus_allowed_list")? == "1-2");
    ensure!(kernel::status(&init, "Mems_allowed_list")? == "0");
    ensure!(
        kernel::status(&init, "CapEff")? == "0000000000000400",
        "NET_BIND_SERVICE alone"
    );
    ensure!(kernel::read(pod.cgroup().join("hugetlb.1GB.max"))? == "1073741824");
    kernel::write(pod.cgroup().join("cpuset.cpus"), "2-3")?;
    ensure!(kernel::status(&init, "Cpus_allowed_list")? == "2-3");
    pod.signal(Signal::SIGTERM)?;
    ensure!(pod.code(LONG)? == 3);
    Ok(())
}

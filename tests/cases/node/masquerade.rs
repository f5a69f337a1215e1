//! A whole VM in a pod on the node, under KVM, its network proven both ways.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::node::outside::Outside;
use tests::node::pod::Pod;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log};
use tests::project;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "masquerade-on-kvm",
        shape: &DEFAULT,
        run: masquerade_on_kvm,
    },
    Case {
        name: "unprepared-network-is-refused",
        shape: &DEFAULT,
        run: unprepared,
    },
];

fn example() -> Result<Value> {
    let text = kernel::read(project().join("examples/masquerade.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn masquerade_on_kvm() -> Result<()> {
    let vmi = example()?;
    log("listening outside");
    let outside = Outside::listen()?;
    // The product builds its network by itself: NET_ADMIN at the start, which falls before the guest runs.
    let pod = Pod::new("masquerade").options([
        "--cpus",
        "4-5",
        "--mems",
        "1",
        "--cpu-max",
        "200000 100000",
        "--memory",
        "1073741824",
        "--cap",
        "net_admin",
    ]);
    let mut pod = pod.run(&vmi)?;
    pod.started
        .wait_for("guest: running", Duration::from_secs(60))?;
    let qemu = pod.qemu()?;
    let command = kernel::read(format!("/proc/{qemu}/cmdline"))?.replace('\0', " ");
    log(&command);
    for (process, pid) in [("PID 1", pod.pid1()?), ("QEMU", qemu)] {
        for (field, wanted) in [
            ("Uid", "107\t107\t107\t107"),
            ("CapEff", "0000000000000000"),
            ("Cpus_allowed_list", "4-5"),
        ] {
            let is = kernel::status(&pid.to_string(), field)?;
            ensure!(
                is == wanted,
                "{process}'s `{field}` is `{is}` instead of `{wanted}`"
            );
        }
    }
    let fds = kernel::open_files(qemu)?;
    for device in ["/dev/kvm", "/dev/net/tun", "/dev/vhost-net"] {
        ensure!(
            fds.iter().any(|fd| fd == device),
            "QEMU has no {device} open: {fds:?}"
        );
    }
    outside.prove(&mut pod)?;
    pod.succeed(Duration::from_secs(60))
}

/// User 107 without NET_ADMIN, and no virt-handler that made bridge and tap.
fn unprepared() -> Result<()> {
    let mut pod = Pod::new("unprepared").run(&example()?)?;
    let code = pod.code(Duration::from_secs(60))?;
    ensure!(code == 4, "exit code {code}");
    let said = pod.started.seen().join("\n");
    ensure!(said.contains("making it needs CAP_NET_ADMIN"), "{said}");
    Ok(())
}

//! The node is what its shape says, and the product sees it.

use std::process::Command;

use anyhow::{Result, ensure};
use launcher::kvm::{self, Fitness};
use numa::HostRoot;
use serde_json::{Value, json};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "facts-of-the-kernel",
        shape: &DEFAULT,
        run: facts_of_the_kernel,
    },
    Case {
        name: "kvm-is-fit",
        shape: &DEFAULT,
        run: kvm_is_fit,
    },
    Case {
        name: "host-facts",
        shape: &DEFAULT,
        run: host_facts,
    },
];

fn facts_of_the_kernel() -> Result<()> {
    ensure!(kernel::cells()? == [0, 1]);
    for (cell, cpus) in [(0, "0-3"), (1, "4-7")] {
        let list = kernel::read(format!("/sys/devices/system/node/node{cell}/cpulist"))?;
        ensure!(list == cpus, "node {cell} has CPUs {list}");
    }
    ensure!(kernel::read("/sys/devices/system/node/node1/distance")? == "21 10");
    let free = [
        kernel::free_pages(0, "1048576")?,
        kernel::free_pages(1, "1048576")?,
    ];
    ensure!(free == [1, 5], "free 1Gi pages {free:?}");
    let vfs = nic::all_vfs()?;
    ensure!(vfs.len() == 5, "VFs {vfs:?}");
    let mut groups: Vec<String> = Vec::new();
    for (vf, node) in vfs.iter().zip([1, 1, 1, 1, 0]) {
        ensure!(nic::numa_node(vf)? == node, "{vf} is elsewhere");
        ensure!(nic::driver(vf)?.is_none(), "{vf} has a driver");
        groups.push(nic::group(vf)?);
    }
    for pf in ["pf0", "pf1"] {
        groups.push(nic::group(&nic::pf(pf)?)?);
    }
    groups.sort();
    groups.dedup();
    ensure!(groups.len() == 7, "groups {groups:?}");
    let bound = nic::bind(&vfs[0], "vfio-pci")?;
    ensure!(std::path::Path::new(&format!("/dev/vfio/{}", bound.group)).exists());
    Ok(())
}

/// The build machine's own KVM is not, which the same probe says there.
fn kvm_is_fit() -> Result<()> {
    let fitness = kvm::probe(&HostRoot::default());
    ensure!(fitness == Fitness::Fit, "{fitness}");
    Ok(())
}

fn host_facts() -> Result<()> {
    let launcher = tests::binary::beside("virt-launcher")?;
    let output = Command::new(launcher)
        .args(["host", "--output", "json"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let facts: Value = serde_json::from_slice(&output.stdout)?;
    log(&format!("{facts:#}"));
    for (key, wanted) in [
        ("cpus", json!("0-7")),
        ("mems", json!("0-1")),
        ("kvm", json!(true)),
        ("vhost_net", json!(true)),
    ] {
        ensure!(facts[key] == wanted, "`{key}` is {}", facts[key]);
    }
    let root = HostRoot::default();
    let vf = nic::vf("pf0", 0)?;
    let node = numa::pci_node(&root, &vf)?;
    ensure!(node.is_some_and(|node| node.0 == 1), "{vf} is on {node:?}");
    let pools: Vec<_> = hugepages::pools(&root)?
        .iter()
        .map(|pool| format!("{pool:?}"))
        .collect();
    log(&pools.join("\n"));
    ensure!(pools.len() == 4, "two sizes on two nodes");
    Ok(())
}

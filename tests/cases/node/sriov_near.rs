//! A VF on node 0: where CPUs and memory are to be is the VF's doing. Its guest knows it by the MAC address that its
//! cloud-init network data names.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

use super::sriov_refused::{refused_by_plan, texts};
use super::third_vmi::{self, GUEST, SMALL, Vf, vmi};
use super::told;

pub(crate) const CASES: &[Case] = &[Case {
    name: "sriov-on-node-0",
    shape: &DEFAULT,
    run: on_node_0,
}];

fn on_node_0() -> Result<()> {
    let vf = Vf::on_node_0()?;
    let options = vf.options();
    let pod = |name: &str, cpus: &str, mems: &str| {
        third_vmi::pod(name, cpus, mems, 1).options(options.iter().map(String::as_str))
    };
    let network = network_data(&vf);
    let text = with_seed(&network)?;

    // CPUs on node 1 alone.
    let (code, told) = pod("far", "4-7", "0-1").plan_text(&text)?;
    log(&format!("{:#}", told["placement"]));
    ensure!(code == 0, "exit code {code}: {told:#}");
    let memory = told["placement"]["memory"].as_array().context("memory")?;
    ensure!(
        memory.iter().all(|part| part["hostNode"] == 0),
        "memory stays with the VF: {memory:?}"
    );
    let notes = texts(&told["placement"], "notes");
    let strict = ["--placement-policy", "strict"];
    let refused = refused_by_plan(pod("strict", "4-7", "0-1").arguments(strict), &text)?;

    // CPUs on both: the VF's are taken.
    let mut pod = pod("near", "2-5", "0-1")
        .arguments(strict)
        .run_text(&text)?;
    pod.started.wait_for("guest: running", GUEST)?;
    let mut console = pod.console()?;
    console.wait_for("demo: ready", GUEST)?;
    let (code, table) = pod.exec(&["verify"])?;
    log(&table);
    ensure!(code == Some(0), "exit code {code:?}");
    let qemu = pod.qemu()?;
    let nodes: Vec<_> = kernel::huge_mappings(qemu)?
        .into_iter()
        .flat_map(|mapping| mapping.pages)
        .collect();
    ensure!(nodes == [(0, 1)], "pages by node: {nodes:?}");
    for (_, name, cpus) in kernel::threads(qemu)? {
        ensure!(["2", "3"].contains(&cpus.as_str()), "`{name}` on {cpus}");
    }

    // What the VMI says comes to the guest byte by byte, and the guest finds the VF by it.
    let demo = |key| console.demo(key).unwrap_or_default();
    ensure!(
        demo("network-config-sum") == sum(&network)?,
        "the seed's network-config differs"
    );
    ensure!(
        demo("vf").contains(&vf.mac),
        "the guest sees `{}`",
        demo("vf")
    );
    ensure!(
        demo("vf-address") == format!("{}/24", vf.inside()),
        "by its MAC address the VF has `{}`",
        demo("vf-address")
    );
    nic::ping_from_wire(&vf.inside())?;
    let neighbor = nic::seen_on_wire(vf.vlan(), &vf.inside())?;
    ensure!(
        neighbor.contains(&vf.mac),
        "`{neighbor}` instead of {}",
        vf.mac
    );

    pod.signal(Signal::SIGTERM)?;
    pod.succeed(GUEST)?;
    let address = vf.bound.address.clone();
    vf.give_back()?;
    nic::clear_wire()?;
    told::snapshot(
        "vf-on-node-0",
        &format!("prefer:\n{notes}strict:\n{refused}"),
        &[(&address, "VF")],
    );
    Ok(())
}

/// With a NIC before the VF's that is not there: the order of entries must not matter.
fn network_data(vf: &Vf) -> String {
    format!(
        "version: 2\nethernets:\n  slow:\n    match:\n      macaddress: \"02:00:00:00:00:01\"\n    addresses: [198.51.100.2/24]\n  \
         fast:\n    match:\n      macaddress: \"{}\"\n    addresses: [{}/24]\n    # as it is: ä, tab\t, and no newline",
        vf.mac,
        vf.inside()
    )
}

/// The small guest, without an address among its kernel's arguments, and with a seed.
fn with_seed(network: &str) -> Result<String> {
    let mut changes = SMALL.to_vec();
    changes.push((" demo.vf-address=192.0.2.2/24", ""));
    changes.push((
        "      interfaces:\n",
        "      disks:\n        - name: seed\n          disk: {bus: virtio}\n      interfaces:\n",
    ));
    let text = vmi(&changes)?;
    let quoted = serde_json::to_string(network)?;
    Ok(format!(
        "{text}\n  volumes:\n    - name: seed\n      cloudInitNoCloud:\n        networkData: {quoted}\n"
    ))
}

/// SHA-256, as the guest's own program tells it.
fn sum(text: &str) -> Result<String> {
    let file = "/tmp/network-config";
    std::fs::write(file, text)?;
    let output = Command::new("sha256sum").arg(file).output()?;
    ensure!(output.status.success(), "no sum of {file}");
    let said = String::from_utf8(output.stdout)?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}

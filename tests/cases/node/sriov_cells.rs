//! A VF under a guest that has several NUMA nodes: it sees the VF on the node whose memory and CPUs are near it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

use super::third_vmi::{self, GUEST, Vf, vmi};

pub(crate) const CASES: &[Case] = &[Case {
    name: "sriov-on-the-second-of-two-guest-nodes",
    shape: &DEFAULT,
    run: two_nodes,
}];

fn two_nodes() -> Result<()> {
    let vf = Vf::ready(3)?;
    let isolated = "      isolateEmulatorThread: true\n";
    let text = vmi(&[
        ("sockets: 3", "sockets: 2"),
        ("cpu: 3", "cpu: 2"),
        ("memory: 4Gi", "memory: 2Gi"),
        ("demo.vf-address=192.0.2.2/24", ""),
        (
            isolated,
            &format!("{isolated}      numa: {{guestMappingPassthrough: {{}}}}\n"),
        ),
    ])?;
    let options = vf.options();
    // Two CPUs of node 0, one of them the emulator's, and one of node 1.
    let mut pod = third_vmi::pod("cells", "2-4", "0-1", 2)
        .options(options.iter().map(String::as_str))
        .run_text(&text)?;
    pod.started.wait_for("guest: running", GUEST)?;
    let mut console = pod.console()?;
    console.wait_for("demo: ready", GUEST)?;
    let seen = console.demo("vf").unwrap_or_default();
    ensure!(
        seen.ends_with("node 1"),
        "the guest sees its VF as `{seen}`"
    );
    let (code, table) = pod.exec(&["verify"])?;
    log(&table);
    ensure!(code == Some(0), "exit code {code:?}");
    let mut pages = BTreeMap::new();
    for mapping in kernel::huge_mappings(pod.qemu()?)? {
        for (node, count) in mapping.pages {
            *pages.entry(node).or_insert(0) += count;
        }
    }
    ensure!(pages == [(0, 1), (1, 1)].into(), "pages by node: {pages:?}");
    pod.signal(Signal::SIGTERM)?;
    pod.succeed(GUEST)?;
    vf.give_back()?;
    nic::clear_wire()
}

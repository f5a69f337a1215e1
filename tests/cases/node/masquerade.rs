//! A whole VM in a pod on the node, under KVM, its network proven both ways.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::node::pod::Pod;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel};
use tests::proof::{OUTSIDE, PATIENCE, PORT, both_ways};
use tests::{namespace, project};
use tokio::net::TcpListener;
use tokio::time::timeout;

pub(crate) const CASES: &[Case] = &[Case {
    name: "masquerade-on-kvm",
    shape: &DEFAULT,
    run: masquerade_on_kvm,
}];

fn masquerade_on_kvm() -> Result<()> {
    let text = kernel::read(project().join("examples/masquerade.json"))?;
    let vmi: Value = serde_json::from_str(&text)?;
    namespace::run(
        "ip",
        &["address", "add", &format!("{OUTSIDE}/32"), "dev", "lo"],
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
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
    let proof = runtime.block_on(async {
        let listener = TcpListener::bind((OUTSIDE, PORT)).await?;
        let pod = pod.run(&vmi)?;
        let proof = timeout(PATIENCE, both_ways(&listener, |said| println!("{said}")));
        let proof = proof.await.context("the guest did not show up")?;
        anyhow::Ok((pod, proof))
    });
    let (mut pod, proof) = proof?;
    let ended = pod.succeed(Duration::from_secs(60));
    println!("{}", pod.started.seen().join("\n"));
    proof?;
    ended?;
    let said = pod.started.seen().join("\n");
    ensure!(said.contains("kvm"), "not under KVM");
    Ok(())
}

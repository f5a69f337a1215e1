//! What others do to a running guest's network: noticed, told in the log and in the status, and the guest is kept.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::ctl::{ctl, state};
use tests::namespace;
use tests::pod::{Pod, until};
use tests::run::{BOOT, Launch, Run, SOON, vmi};
use tests::world::World;

fn running() -> Result<(Run, Pod)> {
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("guest: running", SOON)?;
    let pod = run.pod()?;
    let known = network()?;
    ensure!(
        known == json!({"links": [], "rules": "untouched"}),
        "{known}"
    );
    Ok((run, pod))
}

/// What the status says of the network.
fn network() -> Result<Value> {
    Ok(ctl(&["status"])?["network"].take())
}

fn has_one_trouble(known: &Value) -> bool {
    known["links"]
        .as_array()
        .is_some_and(|links| links.len() == 1)
}

/// The line in the log comes a moment before the status.
fn knows(is: impl Fn(&Value) -> bool) -> Result<()> {
    until(SOON, || {
        let known = network()?;
        ensure!(is(&known), "{known}");
        Ok(())
    })
}

/// Does something in the pod as its node's administrator.
fn in_pod(pod: &Pod, script: &str) -> Result<()> {
    namespace::inside(&pod.network()?, || namespace::run("sh", &["-euc", script]))
}

/// The guest is the one that it was, and ends as if nothing had been.
fn kept(mut run: Run, pod: &Pod, world: &World) -> Result<()> {
    assert_eq!(state()?.0, "Running");
    assert_eq!(run.pod()?.qemu.pid, pod.qemu.pid);
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    // What goes with QEMU is no news.
    let after = run
        .seen()
        .iter()
        .skip_while(|line| !line.contains("demo: power-button=pressed"));
    let late = after.filter(|line| line.contains("under the running guest"));
    assert_eq!(late.count(), 0, "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_deleted_tap_is_told() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    // Its driver has the NIC.
    run.ready()?;
    in_pod(&pod, "ip link delete tap0")?;
    run.wait_for("there is no link `tap0`", SOON)?;
    knows(has_one_trouble)?;
    kept(run, &pod, &world)
}

#[test]
fn a_guest_that_resets_a_nic_without_its_tap_ends_qemu() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    in_pod(&pod, "ip link delete tap0")?;
    run.wait_for("QEMU will abort when the guest resets this NIC", SOON)?;
    run.wait_for("TUNSETVNETHDRSZ", BOOT)?;
    assert_eq!(run.code()?, Some(5), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_deleted_bridge_is_told_until_it_is_back() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    run.ready()?;
    in_pod(&pod, "ip link delete k6t-eth0")?;
    run.wait_for("there is no link `k6t-eth0`", SOON)?;
    knows(has_one_trouble)?;
    // A supervisor that follows sees it too.
    pod.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for("there is no link `k6t-eth0`", SOON)?;
    in_pod(
        &pod,
        "ip link add k6t-eth0 address 02:00:00:00:00:00 type bridge
         ip link set k6t-eth0 mtu 1500 up
         ip address add 10.0.2.1/24 dev k6t-eth0
         ip address add fd10:0:2::1/120 dev k6t-eth0 nodad
         ip link set tap0 master k6t-eth0",
    )?;
    run.wait_for("as planned again", SOON)?;
    knows(|known| known["links"] == json!([]))?;
    kept(run, &pod, &world)
}

#[test]
fn a_flushed_table_is_told() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    run.ready()?;
    // Somebody else's table is none of our business.
    in_pod(&pod, "nft add table ip other; nft delete table ip other")?;
    in_pod(&pod, "nft flush table ip virt_launcher")?;
    let told = "changed the NAT rules of table `virt_launcher`";
    run.wait_for(told, SOON)?;
    knows(|known| known["rules"] == "changed")?;
    // Nobody may look any more, but what told it is still there for whoever follows.
    pod.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for(told, SOON)?;
    knows(|known| known["rules"] == "changed")?;
    kept(run, &pod, &world)
}

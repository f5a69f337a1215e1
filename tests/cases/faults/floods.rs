//! A guest that says too much.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::ctl::{ctl, output, refused};
use tests::dhcp_client::{Client, mac};
use tests::pod::until;
use tests::run::{SOON, ask};
use tests::world::World;

/// Memory of a process that is its own, in KiB.
fn anonymous(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("RssAnon")?.parse()?)
}

#[test]
fn a_flood_in_the_agents_place_is_cut_off() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = super::running()?;
    run.ready()?;
    run.shell()?;
    let before = anonymous(pod.supervisor.pid)?;
    let mut console = run.keyboard()?;
    // No line end, no reply, and as fast as it goes.
    writeln!(
        console,
        "for port in /dev/vport*; do (yes 7777777 | tr -d '\\n' >$port &); done; echo flood=$((1+1))="
    )?;
    run.wait_for("flood=2=", SOON)?;
    until(SOON, || {
        let status = ctl(&["status"])?;
        ensure!(status["agentConnected"] == true, "{status:#}");
        Ok(())
    })?;
    let (code, said) = refused(&["ping"])?;
    ensure!(code == Some(1), "{said}");
    // Somebody asks again and again, and is told that there is no answer.
    for _ in 0..3 {
        let told = output(&["exec", "true"])?;
        ensure!(!told.status.success(), "{told:?}");
    }
    let after = anonymous(pod.supervisor.pid)?;
    ensure!(
        after < before + (32 << 10),
        "{before} KiB, then {after} KiB"
    );
    super::is(("Running", "Unknown"))?;
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    ensure!(run.pod()?.supervisor.pid == pod.supervisor.pid, "it lives");
    super::power_off(&mut run, &world)
}

#[test]
fn a_flood_of_dhcp_is_answered_slowly() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = super::running()?;
    run.ready()?;
    let mac = mac(run.demo("mac").context("the guest's MAC")?)?;
    let mut client = Client::plug(&pod.network()?, mac)?;
    let before = anonymous(pod.supervisor.pid)?;
    for _ in 0..20_000 {
        client.discover()?;
    }
    // Others are served meanwhile.
    ctl(&["status"])?;
    // What came too fast was dropped, and when what was kept is answered the guest is heard again.
    let mut heard = false;
    for _ in 0..30 {
        if heard {
            break;
        }
        client.discover()?;
        heard = client.offered(Duration::from_secs(1)).is_ok();
    }
    ensure!(heard, "DHCP was never answered again");
    let after = anonymous(pod.supervisor.pid)?;
    ensure!(after < before + (8 << 10), "{before} KiB, then {after} KiB");
    ensure!(run.pod()?.supervisor.pid == pod.supervisor.pid, "it lives");
    // It holds the pod's namespaces, and our port with them.
    drop(pod);
    super::power_off(&mut run, &world)
}

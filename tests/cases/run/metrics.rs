//! Metrics by TCP, where they are asked for: for the pod's network, never for the guest.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::run::{BOOT, Launch, SOON, vmi};
use tests::world::World;

/// The first pod of a world.
const POD: &str = "100.64.0.2:9100";

fn scrape() -> Result<String> {
    let mut stream = TcpStream::connect(POD)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: pod\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_port_that_is_asked_for_serves_the_pods_network_and_not_the_guest() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["domain"]["devices"]["interfaces"][0]["ports"] = json!([{"port": 8080}]);
    let mut run = Launch::of(&vmi).args(&["--metrics-address", POD]).start()?;
    run.wait_for("guest: running", SOON)?;
    let told = scrape()?;
    ensure!(
        told.contains("kubevirt_vmi_cpu_usage_seconds_total"),
        "{told}"
    );
    // The next supervisor has it from PID 1.
    run.pod()?.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for("QEMU is in hand", SOON)?;
    let told = scrape()?;
    ensure!(
        told.contains("kubevirt_vmi_cpu_usage_seconds_total"),
        "{told}"
    );
    run.shell()?;
    let mut console = run.keyboard()?;
    console.write_all(b"echo GET /metrics|nc -w 5 100.64.0.2 9100||echo no=$((1+1))=\n")?;
    run.wait_for("no=2=", BOOT)?;
    console.write_all(b"echo GET /metrics|nc -w 5 10.0.2.1 9100||echo no=$((1+2))=\n")?;
    run.wait_for("no=3=", BOOT)?;
    ensure!(
        !run.seen().iter().any(|line| line.contains("kubevirt_vmi_")),
        "the guest got it"
    );
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_port_that_is_the_guests_is_refused() -> Result<()> {
    let world = World::enter()?;
    let run = Launch::of(&vmi(&[])).args(&["--metrics-address", POD]);
    let (code, said) = run.finish()?;
    ensure!(
        code == Some(3) && said.contains("leads to the guest"),
        "{code:?}: {said}"
    );
    world.is_clean(SOON)
}

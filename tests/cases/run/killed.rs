//! A process of the run dies by SIGKILL while the guest runs: the guest outlives its supervisor, and nothing of the pod
//! outlives any other.

use anyhow::Result;
use nix::sys::signal::Signal;
use tests::pod::Pod;
use tests::run::{BOOT, Launch, Run, SOON, ask, vmi};
use tests::world::World;

/// A run with disks and a NIC, whose guest has just begun to boot.
fn running() -> Result<(Run, Pod)> {
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("guest: running", SOON)?;
    let pod = run.pod()?;
    Ok((run, pod))
}

/// A start that ends soon, and does on its way what every start does. What it says.
fn next_run() -> Result<String> {
    let (code, said) = Launch::of(&vmi(&[]))
        .args(&["--qemu", "/nonexistent/qemu"])
        .finish()?;
    assert_eq!(code, Some(5), "{said}");
    Ok(said)
}

#[test]
fn the_outer_process() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    run.signal(Signal::SIGKILL)?;
    run.finish(SOON)?;
    pod.is_gone(SOON)?;
    world.is_clean_but_for(2, SOON)?;
    let said = next_run()?;
    assert!(said.contains("removed what the killed run"), "{said}");
    world.is_clean(SOON)
}

#[test]
fn pid_1() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    pod.init.signal(Signal::SIGKILL)?;
    assert_eq!(run.code()?, Some(8), "{:#?}", run.seen());
    pod.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn the_supervisor() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    pod.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for("supervisor: QEMU is in hand", SOON)?;
    run.ready()?;
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word", "DHCP was served on");
    let after = run.pod()?;
    assert_eq!(after.qemu.pid, pod.qemu.pid);
    assert_ne!(after.supervisor.pid, pod.supervisor.pid);
    run.signal(Signal::SIGTERM)?;
    run.wait_for("demo: power-button=pressed", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    after.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn the_supervisor_of_a_qemu_that_is_stopped() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["terminationGracePeriodSeconds"] = 2.into();
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("guest: running", SOON)?;
    let pod = run.pod()?;
    pod.qemu.signal(Signal::SIGSTOP)?;
    pod.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for("monitor does not answer", SOON)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    pod.qemu.ended(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn a_supervisor_that_hangs_holds_up_no_end() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("guest: running", SOON)?;
    let pod = run.pod()?;
    pod.supervisor.signal(Signal::SIGSTOP)?;
    run.signal(Signal::SIGTERM)?;
    run.wait_for("PID 1 ends QEMU", SOON)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    pod.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn qemu() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    pod.qemu.signal(Signal::SIGKILL)?;
    assert_eq!(run.code()?, Some(5), "{:#?}", run.seen());
    pod.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn a_neighbour_is_not_harmed_and_never_taken_for_a_leftover() -> Result<()> {
    let world = World::enter()?;
    let (mut killed, pod) = running()?;
    let (mut neighbour, _) = running()?;
    assert_ne!(killed.address()?, neighbour.address()?);
    assert_eq!(world.runs().len(), 4, "two runs of one VMI, each its own");
    killed.signal(Signal::SIGKILL)?;
    killed.finish(SOON)?;
    pod.is_gone(SOON)?;
    let said = next_run()?;
    let removed = said.matches("removed what the killed run").count();
    assert_eq!(removed, 1, "{said}");
    assert_eq!(world.runs().len(), 2, "the neighbour's directories stay");
    neighbour.ready()?;
    let answer = ask(neighbour.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    neighbour.signal(Signal::SIGTERM)?;
    neighbour.wait_for("demo: power-button=pressed", BOOT)?;
    assert_eq!(neighbour.code()?, Some(0), "{:#?}", neighbour.seen());
    world.is_clean(SOON)
}

//! Every way in which a guest ends by itself, and its exit code.

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;
use tests::run::{BOOT, Launch, SOON, paused_vmi, vmi};
use tests::world::World;

#[test]
fn a_reset_boots_again() -> Result<()> {
    let world = World::enter()?;
    let orders = [("mode", "reboot"), ("reboots", "1")];
    let mut run = Launch::of(&vmi(&orders)).start()?;
    run.wait_for("demo: reboot", BOOT)?;
    run.ready()?;
    assert_eq!(run.demo("boots"), Some("2"), "the disk is the same one");
    assert_eq!(run.demo("address"), Some("10.0.2.2/24"));
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_reset_is_the_end_where_the_policy_says_so() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "reboot"), ("reboots", "1")]);
    vmi["spec"]["domain"]["rebootPolicy"] = "Terminate".into();
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("rebootPolicy is Terminate", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    assert_eq!(run.demo("boots"), Some("1"));
    world.is_clean(SOON)
}

#[test]
fn a_panic_is_known() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "panic")]);
    vmi["spec"]["domain"]["devices"]["panicDevices"] = json!([{"model": "isa"}]);
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("kernel panicked", BOOT)?;
    assert_eq!(run.code()?, Some(6), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_qemu_that_dies_is_known() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&paused_vmi()).start()?;
    run.wait_for("left paused as asked", SOON)?;
    let pod = run.pod()?;
    pod.qemu.signal(Signal::SIGKILL)?;
    run.wait_for("QEMU ended by itself (SIGKILL)", SOON)?;
    assert_eq!(run.code()?, Some(5), "{:#?}", run.seen());
    pod.is_gone(SOON)?;
    world.is_clean(SOON)
}

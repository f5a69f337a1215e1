//! SIGTERM and SIGINT, at every moment of a run.

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::process::Stream;
use tests::run::{BOOT, Launch, SOON, paused_vmi, vmi};
use tests::world::World;

fn with_grace(mut vmi: Value, seconds: u32) -> Value {
    vmi["spec"]["terminationGracePeriodSeconds"] = seconds.into();
    vmi
}

#[test]
fn a_press_during_firmware_is_repeated_until_the_guest_hears_it() -> Result<()> {
    let world = World::enter()?;
    let vmi = with_grace(vmi(&[("mode", "serve")]), 300);
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("guest: running", SOON)?;
    run.signal(Signal::SIGINT)?;
    // By its own name, over two processes.
    run.wait_for("signal: SIGINT", SOON)?;
    run.wait_for("demo: power-button=pressed", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_guest_that_hears_nothing_is_ended_by_force_when_its_time_is_over() -> Result<()> {
    let world = World::enter()?;
    let vmi = with_grace(vmi(&[("mode", "ignore-acpi")]), 2);
    let mut run = Launch::of(&vmi).start()?;
    run.ready()?;
    run.signal(Signal::SIGTERM)?;
    run.wait_for("did not power off in time", SOON)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_second_signal_skips_the_wait() -> Result<()> {
    let world = World::enter()?;
    // A day: without the second signal the test would not end.
    let mut run = Launch::of(&with_grace(paused_vmi(), 86_400)).start()?;
    run.wait_for("left paused as asked", SOON)?;
    let pod = run.pod()?;
    run.signal(Signal::SIGTERM)?;
    run.wait_for("SIGTERM", SOON)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    pod.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn no_grace_is_no_wait() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&with_grace(paused_vmi(), 0)).start()?;
    run.wait_for("left paused as asked", SOON)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_qemu_that_does_not_answer_yet_is_ended_at_once() -> Result<()> {
    let world = World::enter()?;
    let qemu = world.program("silent-qemu", "echo started >&2; exec sleep 1000")?;
    let mut run = Launch::of(&with_grace(paused_vmi(), 86_400))
        .args(&["--qemu", qemu.as_str()])
        .start()?;
    run.wait_for("storage", SOON)?;
    let mut pod = None;
    while pod.is_none() {
        // Nobody tells of a QEMU that says nothing.
        pod = run.pod().ok();
    }
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    pod.expect("just found").is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn a_signal_at_any_moment_of_the_start_leaves_nothing() -> Result<()> {
    let world = World::enter()?;
    let vmi = with_grace(paused_vmi(), 0);
    // Each start is interrupted a little later than the one before, whatever it does just then.
    for milliseconds in (0..400).step_by(50) {
        let mut run = Launch::of(&vmi).start()?;
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        run.signal(Signal::SIGTERM)?;
        let status = run.finish(SOON)?;
        let before_anything = std::os::unix::process::ExitStatusExt::signal(&status) == Some(15);
        assert!(
            status.code() == Some(7) || before_anything,
            "after {milliseconds} ms: {status}, {:#?}",
            run.seen()
        );
        let steps = run.said(Stream::Err).count();
        assert!(!before_anything || steps == 0, "{:#?}", run.seen());
        world.is_clean(SOON)?;
    }
    Ok(())
}

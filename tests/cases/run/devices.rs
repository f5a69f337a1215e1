//! Devices by which a guest that is not well says so, with the guest's own drivers.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use launcher::control::{STATUS_EVENT, STATUS_EVENTS};
use nix::sys::signal::Signal;
use qmp::{Delivery, Events, Options, Session};
use serde_json::json;
use tests::binary;
use tests::ctl::{ctl, state};
use tests::run::{BOOT, Launch, Run, SOON, vmi};
use tests::world::World;
use tokio::time::timeout;

/// A guest whose watchdog is fed once and never again.
fn starving(action: &str) -> Result<Run> {
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["domain"]["devices"]["watchdog"] =
        json!({"name": "dog", "i6300esb": {"action": action}});
    let mut run = Launch::of(&vmi).start()?;
    run.shell()?;
    let mut console = run.keyboard()?;
    console.write_all(b"watchdog -F -T 4 -t 600 /dev/watchdog\n")?;
    run.wait_for("it did not feed its watchdog", BOOT)?;
    Ok(run)
}

#[test]
fn a_watchdog_that_powers_off_ends_the_vm_and_is_told() -> Result<()> {
    let world = World::enter()?;
    let mut run = starving("poweroff")?;
    run.wait_for(
        "the guest did not feed its watchdog, which powered it off",
        SOON,
    )?;
    assert_eq!(run.code()?, Some(6), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_watchdog_that_resets_boots_the_guest_again() -> Result<()> {
    let world = World::enter()?;
    let mut run = starving("reset")?;
    // It boots again.
    run.shell()?;
    assert_eq!(ctl(&["status"])?["watchdog"], "reset");
    assert_eq!(state()?.0, "Running");
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_watchdog_that_shuts_down_presses_the_button() -> Result<()> {
    let world = World::enter()?;
    let mut run = starving("shutdown")?;
    run.wait_for("the guest powered off", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_panic_told_by_pci_is_known() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "panic")]);
    vmi["spec"]["domain"]["devices"]["panicDevices"] =
        json!([{"model": "pvpanic"}, {"model": "hyperv"}]);
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("the guest's kernel panicked", BOOT)?;
    assert_eq!(run.code()?, Some(6), "{:#?}", run.seen());
    world.is_clean(SOON)
}

/// The status as it changes; the session has to be kept.
async fn told(run: &Run) -> Result<(Session, Events)> {
    let private = std::fs::read_dir("/run/virt-launcher")?.flatten();
    let socket = private
        .map(|one| one.path().join("private/control.sock"))
        .find(|path| path.exists());
    let socket = socket.with_context(|| format!("no control socket: {:#?}", run.seen()))?;
    let options = Options {
        enable: vec![STATUS_EVENTS.to_owned()],
        ..Options::default()
    };
    let session = Session::connect(&socket, options).await?;
    let events = session.critical_events().context("they are taken once")?;
    Ok((session, events))
}

/// Its memory is written while it stands still, and whoever asks is told why it does.
#[test]
fn a_guest_that_is_dumped_is_paused_for_that() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("guest: running", SOON)?;
    let core = world.path().join("core");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reasons = runtime.block_on(async {
        let mut told = told(&run).await?;
        let mut dump = tokio::process::Command::new(binary::virt_launcher())
            .args(["ctl", "memory-dump", core.as_str()])
            .kill_on_drop(true)
            .spawn()?;
        let mut reasons = Vec::new();
        while !reasons.ends_with(&["Dump".to_owned(), "Unknown".to_owned()]) {
            let Some(Delivery::Event(event)) = timeout(SOON, told.1.next()).await? else {
                anyhow::bail!("the status ends with {reasons:?}");
            };
            if event.name == STATUS_EVENT {
                let reason = event.data["reason"].as_str().unwrap_or_default().to_owned();
                if reasons.last() != Some(&reason) {
                    reasons.push(reason);
                }
            }
        }
        ensure!(
            timeout(SOON, dump.wait()).await??.success(),
            "it was not dumped"
        );
        Ok(reasons)
    })?;
    assert_eq!(reasons, ["Unknown", "Dump", "Unknown"]);
    assert_eq!(state()?.0, "Running");
    run.signal(Signal::SIGTERM)?;
    run.signal(Signal::SIGTERM)?;
    run.code()?;
    world.is_clean(SOON)
}

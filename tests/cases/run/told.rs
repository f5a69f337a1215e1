//! What a run says while it goes.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::process::{Started, Stream};
use tests::run::{BOOT, Launch, Run, SOON, paused_vmi, vmi};
use tests::world::World;

#[test]
fn for_machines_each_step_is_an_object_with_its_event_and_duration() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("poweroff-after-check", "true")]);
    vmi["spec"]["domain"]["devices"]["disks"][1]["disk"]["bus"] = "scsi".into();
    let mut run = Launch::of(&vmi).args(&["--log-format", "json"]).start()?;
    run.wait_for("demo: poweroff", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    assert_eq!(run.demo("seed"), Some("/dev/sda"));
    let mut steps = Vec::new();
    for line in run.said(Stream::Err) {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let name = event["event"].as_str().with_context(|| line.to_owned())?;
        let message = event["message"].as_str().with_context(|| line.to_owned())?;
        assert!(!message.is_empty(), "{line}");
        // What the guest is told by servers comes when it asks.
        let served = ["dhcp.", "dhcp6.", "ra."]
            .iter()
            .any(|server| name.starts_with(server));
        if event["level"] == "INFO" && !served {
            assert!(event["ms"].is_number(), "{line}");
            steps.push(name.to_owned());
        }
    }
    let expected = [
        "pod-made",
        "confined",
        "planned",
        "storage-ready",
        "network-ready",
        "qemu-ready",
        "privileges-dropped",
        "guest-running",
        "ended",
    ];
    assert_eq!(steps, expected);
    world.is_clean(SOON)
}

#[test]
fn a_long_step_shows_a_terminal_how_long_and_a_pipe_nothing() -> Result<()> {
    let world = World::enter()?;
    let qemu = world.program("silent-qemu", "exec sleep 1000")?;
    let file = world.path().join("vmi.json");
    std::fs::write(&file, paused_vmi().to_string())?;
    for terminal in [true, false] {
        let launch = Launch::plain().args(&["--vmi", file.as_str(), "--qemu", qemu.as_str()]);
        let (mut run, _keys) = if terminal {
            let (started, keys) = Started::on_terminal(&mut launch.command())?;
            (Run::from(started), Some(keys))
        } else {
            (launch.start()?, None)
        };
        run.wait_for("storage", SOON)?;
        // The time itself is what is shown.
        std::thread::sleep(Duration::from_secs(3));
        run.signal(Signal::SIGTERM)?;
        assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
        let said = run.seen().join("\n");
        assert_eq!(
            said.contains("qemu: 1 s so far\r\u{1b}[K"),
            terminal,
            "{said:?}"
        );
        assert_eq!(said.contains('\u{1b}'), terminal, "{said:?}");
    }
    world.is_clean(SOON)
}

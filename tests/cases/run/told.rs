//! What a run says while it goes.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::process::Stream;
use tests::run::{BOOT, Launch, SOON, vmi};
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
        if event["level"] == "INFO" {
            assert!(event["ms"].is_number(), "{line}");
            steps.push(name.to_owned());
        }
    }
    let expected = [
        "pod-made",
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

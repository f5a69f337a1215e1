//! Every kind of disk on every bus, as the guest sees it and as the files are afterwards.

use std::fs;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::run::{Launch, SOON, vmi};
use tests::world::{World, said};

/// An image that begins with its own name.
fn image(directory: &Utf8Path, name: &str, mebibytes: u64) -> Result<Utf8PathBuf> {
    let path = directory.join(name);
    let file = fs::File::create(&path)?;
    file.write_all_at(name.as_bytes(), 0)?;
    file.set_len(mebibytes << 20)?;
    Ok(path)
}

#[test]
fn each_is_there_with_its_bytes_and_keeps_what_it_should() -> Result<()> {
    let world = World::enter()?;
    let raw = image(world.path(), "container", 24)?;
    let container = world.path().join("container.qcow2");
    let convert = ["convert", "-O", "qcow2", raw.as_str(), container.as_str()];
    said("qemu-img", &convert)?;
    let before = fs::read(&container)?;
    let claim = image(world.path(), "claim", 20)?;
    let host = image(world.path(), "host", 8)?;
    let made = world.path().join("made");
    let mut vmi = vmi(&[("mode", "serve"), ("mark", "true")]);
    vmi["spec"]["domain"]["devices"]["disks"] = json!([
        {"name": "container", "disk": {"bus": "virtio"}},
        {"name": "claim", "disk": {"bus": "virtio", "readonly": true}},
        {"name": "scratch", "disk": {"bus": "scsi"}},
        {"name": "host", "disk": {"bus": "sata"}},
        {"name": "made", "disk": {"bus": "scsi"}},
        {"name": "seed", "cdrom": {"bus": "sata"}},
    ]);
    let seed = vmi["spec"]["volumes"][1]["cloudInitNoCloud"].clone();
    vmi["spec"]["volumes"] = json!([
        {"name": "container", "containerDisk": {"image": "quay.io/example/container"}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "scratch", "emptyDisk": {"capacity": "16Mi"}},
        {"name": "host", "hostDisk": {"path": host, "type": "Disk"}},
        {"name": "made", "hostDisk": {"path": made, "type": "DiskOrCreate", "capacity": "12Mi"}},
        {"name": "seed", "cloudInitNoCloud": seed},
    ]);
    let mut run = Launch::of(&vmi)
        .args(&["--disk", &format!("container={container}")])
        .args(&["--disk", &format!("claim={claim}")])
        .start()?;
    run.ready()?;
    assert_eq!(run.demo("seed"), Some("/dev/sr0"));
    let blocks = run
        .seen()
        .iter()
        .filter_map(|line| line.strip_prefix("demo: block="));
    let mut blocks: Vec<_> = blocks.collect();
    blocks.sort_unstable();
    // Of each its sectors, whether it is read-only, and how it begins. The demo guest has written its counter to the
    // container's disk.
    let expected = [
        "16384 0 host",
        "24576 0",
        "32768 0",
        "40960 1 claim",
        "49152 0 demo boot",
    ];
    assert_eq!(blocks, expected, "{:#?}", run.seen());
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    assert!(fs::read(&host)?.starts_with(b"marked\n"));
    assert!(fs::read(&made)?.starts_with(b"marked\n"));
    assert_eq!(fs::metadata(&made)?.len(), 12 << 20);
    assert!(fs::read(&claim)?.starts_with(b"claim\0"));
    assert_eq!(fs::read(&container)?, before, "it went to the overlay");
    world.is_clean(SOON)
}

//! Images that would lead QEMU elsewhere, and disks that fail.

use std::fs::File;
use std::process::Command;

use anyhow::{Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::ctl::{changed, ctl};
use tests::need;
use tests::process::Started;
use tests::run::{BOOT, Launch, SOON, vmi};
use tests::world::{World, said};

/// Length of an image's name for another one that is as long as QEMU takes.
const LONGEST: usize = 1023;

fn qcow2(directory: &Utf8Path, name: &str, options: &[&str]) -> Result<Utf8PathBuf> {
    let image = directory.join(name);
    let create = ["create", "-q", "-f", "qcow2"];
    said(
        "qemu-img",
        &[&create[..], options, &[image.as_str(), "1M"]].concat(),
    )?;
    Ok(image)
}

#[test]
fn images_that_name_other_files_are_3_and_nothing_is_opened() -> Result<()> {
    let world = World::enter()?;
    let place = world.path();
    let long = format!("/{}", "x".repeat(LONGEST - 1));
    let data = format!("data_file={}", place.join("data.raw"));
    let backing = |name, backing: &str| qcow2(place, name, &["-u", "-b", backing, "-F", "raw"]);
    let nested =
        r#"json:{"driver": "raw", "file": {"driver": "host_device", "filename": "/dev/sda"}}"#;
    let mut images = vec![
        backing("absolute.qcow2", "/etc/shadow")?,
        backing("relative.qcow2", "../../../etc/shadow")?,
        backing("json.qcow2", nested)?,
        backing("network.qcow2", "nbd://198.51.100.1/disk")?,
        backing("long.qcow2", &long)?,
        qcow2(place, "apart.qcow2", &["-o", &data])?,
    ];
    let itself = place.join("itself.qcow2");
    std::fs::rename(backing("other.qcow2", itself.as_str())?, &itself)?;
    images.push(itself);
    // Longer than any disk: the overlay above it cannot be laid out.
    let huge = qcow2(place, "huge.qcow2", &[])?;
    let mut bytes = std::fs::read(&huge)?;
    bytes[24..32].copy_from_slice(&u64::MAX.to_be_bytes());
    std::fs::write(&huge, bytes)?;
    images.push(huge);
    let pipe = place.join("pipe.img");
    nix::unistd::mkfifo(pipe.as_std_path(), nix::sys::stat::Mode::S_IRWXU)?;
    images.push(pipe);
    images.push(Utf8PathBuf::from("/dev/zero"));
    let mut vmi = vmi(&[]);
    vmi["spec"]["volumes"][0] = json!({"name": "data", "containerDisk": {"image": "x"}});
    for image in images {
        let (code, said) = Launch::of(&vmi)
            .args(&["--disk", &format!("data={image}")])
            .finish()?;
        ensure!(code == Some(3), "`{image}`: {code:?}: {said}");
        let name = image.file_name().unwrap_or_default();
        ensure!(said.contains(name), "`{name}` is not named: {said}");
        ensure!(!said.contains("qemu:"), "QEMU was started: {said}");
    }
    world.is_clean(SOON)
}

/// A file system of one file, whose reads take an hour.
fn silent(file: &Utf8Path) -> Result<Started> {
    File::create(file)?;
    let mut server = Started::start(Command::new(need::tool("qemu-storage-daemon")).args([
        "--blockdev",
        "null-co,node-name=silent,size=1073741824,latency-ns=3600000000000",
        "--export",
        &format!("fuse,id=silent,node-name=silent,allow-other=off,mountpoint={file}"),
        "--chardev",
        "stdio,id=told",
        "--monitor",
        "chardev=told",
    ]))?;
    // It greets when everything before is done.
    server.wait_for("QMP", SOON)?;
    Ok(server)
}

#[test]
fn an_image_that_never_answers_is_3_and_its_reader_is_ended() -> Result<()> {
    let world = World::enter()?;
    let image = world.path().join("silent.img");
    let server = silent(&image)?;
    let mut vmi = vmi(&[]);
    vmi["spec"]["volumes"][0] = json!({"name": "data", "containerDisk": {"image": "x"}});
    let (code, said) = Launch::of(&vmi)
        .args(&["--disk", &format!("data={image}")])
        .finish()?;
    ensure!(code == Some(3), "{code:?}: {said}");
    ensure!(
        said.contains("silent.img") && said.contains("within 10s"),
        "{said}"
    );
    ensure!(!said.contains("qemu:"), "QEMU was started: {said}");
    // With its server the file goes, and its mount.
    drop(server);
    nix::mount::umount(image.as_std_path())?;
    world.is_clean(SOON)
}

/// A loop device, which outlives the test's mounts unless it is taken down.
struct Loop(String);

impl Loop {
    fn over(file: &Utf8Path) -> Result<Self> {
        let device = said("losetup", &["--find", "--show", file.as_str()])?;
        Ok(Self(device.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new(need::tool("losetup"))
            .args(["--detach", &self.0])
            .status();
    }
}

#[test]
fn a_disk_that_fails_pauses_the_guest_until_somebody_decides() -> Result<()> {
    let world = World::enter()?;
    let file = world.path().join("failing.img");
    let image = File::create(&file)?;
    image.set_len(8 << 20)?;
    let device = Loop::over(&file)?;
    let mut vmi = vmi(&[("mode", "serve")]);
    let disk = json!({"name": "failing", "disk": {"bus": "virtio"}, "cache": "none"});
    let claim = json!({"name": "failing", "persistentVolumeClaim": {"claimName": "failing"}});
    let add = |list: &mut serde_json::Value, one| list.as_array_mut().expect("a list").push(one);
    add(&mut vmi["spec"]["domain"]["devices"]["disks"], disk);
    add(&mut vmi["spec"]["volumes"], claim);
    let mut run = Launch::of(&vmi)
        .args(&["--disk", &format!("failing={}", device.0)])
        .start()?;
    run.ready()?;
    run.shell()?;
    // From here on most of the device has nothing behind it: the kernel answers a read with EIO.
    image.set_len(1 << 20)?;
    let console = super::shell(
        &mut run,
        "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vdc of=/dev/null bs=64k && echo \"read=$((1+1))=\"",
    )?;
    ctl(&["wait", "paused", "--timeout", "120"])?;
    super::is(("Paused", "IOError"))?;
    let status = ctl(&["status"])?;
    let error = &status["ioErrors"][0];
    ensure!(error["disk"] == "failing", "{status:#}");
    ensure!(error["no_space"] == false, "{status:#}");
    ensure!(error["reason"] == "Input/output error", "{status:#}");
    image.set_len(8 << 20)?;
    ensure!(changed(&["unpause"])?);
    run.wait_for("read=2=", BOOT)?;
    drop(console);
    run.signal(Signal::SIGTERM)?;
    ensure!(run.code()? == Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

//! A run's processes reach the VM's files and no others.

use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::ctl::{ctl, refused};
use tests::run::{Launch, SOON, vmi};
use tests::world::World;

/// A QEMU that is told to dump the guest to a file is the process that tries: the supervisor opens it, in the one domain.
#[test]
fn a_running_vm_reaches_its_own_files_alone() -> Result<()> {
    let world = World::enter()?;
    let outside = tempfile::tempdir_in("/var/lib")?;
    let outside = outside.path().join("core");
    let outside = outside.to_string_lossy();
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("only the VM's are within reach", SOON)?;
    run.wait_for("guest: running", SOON)?;
    assert!(ctl(&["status"])?["landlock"].as_i64() >= Some(1));
    let (code, said) = refused(&["memory-dump", &outside])?;
    ensure!(
        code == Some(1) && said.contains("ermission denied"),
        "{said}"
    );
    let inside = world.path().join("core");
    ctl(&["memory-dump", inside.as_str()])?;
    // QEMU itself, by its own hands.
    let socket = std::fs::read_dir("/run/virt-launcher")?
        .flatten()
        .map(|one| one.path().join("private/control.sock"))
        .find(|path| path.exists());
    let socket = socket.expect("the run has a control socket");
    let pmemsave = |file: &str| -> Result<String> {
        let arguments = json!({"val": 0, "size": 4096, "filename": file}).to_string();
        let told = Command::new(tests::binary::virt_launcher())
            .args(["qmp", "--socket"])
            .arg(&socket)
            .args(["exec", "--allow-write", "pmemsave", &arguments])
            .output()?;
        Ok(String::from_utf8_lossy(&told.stderr).into_owned())
    };
    let said = pmemsave(&outside)?;
    ensure!(said.contains("ermission denied"), "QEMU: {said}");
    let said = pmemsave(world.path().join("page").as_str())?;
    ensure!(!said.contains("denied"), "QEMU: {said}");
    ensure!(world.path().join("page").exists(), "{said}");
    run.signal(Signal::SIGTERM)?;
    run.signal(Signal::SIGTERM)?;
    run.code()?;
    world.is_clean(SOON)
}

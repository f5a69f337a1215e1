//! A run's processes reach the VM's files and no others.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::ctl::{ctl, refused};
use tests::run::{Launch, SOON, paused_vmi, vmi};
use tests::world::World;

/// What `verify` says of each process, its exit code, and its table of them.
fn verified() -> Result<(Value, Option<i32>, String)> {
    let verify = |format| {
        let mut command = Command::new(tests::binary::virt_launcher());
        command.args(["verify", "--output", format]).output()
    };
    let json = verify("json")?;
    let told: Value = serde_json::from_slice(&json.stdout)?;
    let table = String::from_utf8(verify("table")?.stdout)?;
    Ok((told, json.status.code(), table))
}

#[test]
fn each_process_is_shown_to_be_confined() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&paused_vmi()).start()?;
    run.wait_for("guest: left paused", SOON)?;
    ctl(&["wait", "paused"])?;
    let (told, code, table) = verified()?;
    ensure!(code == Some(0), "{told:#}");
    let processes = told["confinement"].as_array().context("processes")?;
    let names: Vec<_> = processes.iter().map(|one| &one["process"]).collect();
    ensure!(names == ["pid1", "supervisor", "qemu"], "{told:#}");
    for process in processes {
        ensure!(process["capabilities"] == 0, "{process}");
        ensure!(process["no_new_privs"] == true, "{process}");
        ensure!(process["landlock"] == "held", "{process}");
    }
    ensure!(processes[2]["seccomp_filters"] == 1, "{told:#}");
    let row = table.lines().find(|line| line.starts_with("QEMU"));
    let row: Vec<_> = row.context("a row")?.split_whitespace().collect();
    ensure!(
        row[2..] == ["none", "yes", "1", "filter", "yes", "yes"],
        "{table}"
    );
    ctl(&["kill"])?;
    run.code()?;
    world.is_clean(SOON)
}

/// QEMU's program is a user's to name, and may be a script that drops arguments.
#[test]
fn a_qemu_without_its_sandbox_is_noticed() -> Result<()> {
    let world = World::enter()?;
    let script = r#"for one; do shift; case $one in -sandbox) drop=1;; *) [ "$drop" ] || set -- "$@" "$one"; drop=;; esac; done
exec qemu-system-x86_64 "$@""#;
    let qemu = world.program("bare-qemu", script)?;
    let mut run = Launch::of(&paused_vmi())
        .args(&["--qemu", qemu.as_str()])
        .start()?;
    run.wait_for("guest: left paused", SOON)?;
    ctl(&["wait", "paused"])?;
    let (told, code, _) = verified()?;
    ensure!(code == Some(3) && told["ok"] == false, "{told:#}");
    let qemu = &told["confinement"][2];
    ensure!(
        qemu["ok"] == false && qemu["seccomp_filters"] == 0,
        "{qemu}"
    );
    ensure!(qemu["landlock"] == "held", "{qemu}");
    ctl(&["kill"])?;
    run.code()?;
    world.is_clean(SOON)
}

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

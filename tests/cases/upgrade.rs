//! Another program takes the place of PID 1 and supervisor under a running guest; one that cannot is kept out.

use std::io::Write;

use anyhow::{Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::Signal;
use tests::counting::{count_aloud, counted, lease_again};
use tests::ctl::{ctl, refused, state};
use tests::pod::Pod;
use tests::run::{BOOT, Launch, SOON, ask, vmi};
use tests::world::World;
use tests::{binary, need};

/// The program with some bytes behind it that nobody reads: another one, which does the same.
fn another_program(directory: &Utf8Path) -> Result<Utf8PathBuf> {
    let path = directory.join("another");
    std::fs::copy(binary::virt_launcher(), &path)?;
    let mut file = std::fs::File::options().append(true).open(&path)?;
    file.write_all(b"another")?;
    Ok(path)
}

fn program_of(pid: i32) -> Result<String> {
    Ok(std::fs::read_link(format!("/proc/{pid}/exe"))?
        .to_string_lossy()
        .into_owned())
}

fn is_of_one_qemu(before: &Pod, after: &Pod) -> Result<()> {
    ensure!(
        before.init.pid == after.init.pid,
        "PID 1 is another process"
    );
    ensure!(before.qemu.pid == after.qemu.pid, "QEMU is another process");
    ensure!(
        before.supervisor.pid != after.supervisor.pid,
        "the supervisor is the old one"
    );
    Ok(())
}

#[test]
fn a_guest_runs_on_while_its_launcher_becomes_another_program() -> Result<()> {
    let world = World::enter()?;
    let another = another_program(world.path())?;
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.ready()?;
    count_aloud(&mut run)?;
    let first = run.pod()?;
    let answer = ctl(&["upgrade", "--program", another.as_str()])?;
    assert_eq!(answer["changed"], true);
    let second = run.pod()?;
    is_of_one_qemu(&first, &second)?;
    for process in [&second.init, &second.supervisor] {
        let program = program_of(process.pid)?;
        ensure!(program.contains("memfd:virt-launcher"), "{program}");
    }
    let status = ctl(&["status"])?;
    assert_eq!(status["upgrade"]["stage"], "done");
    assert_eq!(status["supervisorRestarts"], 0);
    assert_eq!(
        ask(run.address()?, 8080, "a-word")?,
        "demo-guest masquerade a-word"
    );

    // A program that came by an upgrade restarts its supervisor, and is upgraded again.
    second.supervisor.signal(Signal::SIGKILL)?;
    second.supervisor.ended(SOON)?;
    run.wait_for("QEMU is in hand", SOON)?;
    ctl(&["upgrade"])?;
    let third = run.pod()?;
    is_of_one_qemu(&second, &third)?;
    assert_eq!(ctl(&["status"])?["supervisorRestarts"], 1);
    lease_again(&mut run)?;
    counted(&run)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    third.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn what_is_no_launcher_is_kept_out() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("guest: running", SOON)?;
    let before = run.pod()?;
    let text = world.path().join("text");
    std::fs::write(&text, "#!/bin/sh\nexit 0\n")?;
    let (code, said) = refused(&["upgrade", "--program", text.as_str()])?;
    ensure!(code == Some(1) && said.contains("no ELF file"), "{said}");
    let silent = need::tool("true");
    let (code, said) = refused(&["upgrade", "--program", silent.as_str()])?;
    ensure!(
        code == Some(1) && said.contains("no launcher that can take over"),
        "{said}"
    );
    let after = run.pod()?;
    assert_eq!(
        before.supervisor.pid, after.supervisor.pid,
        "nothing has happened"
    );
    assert_eq!(ctl(&["status"])?["upgrade"]["stage"], "failed");
    let (code, said) = refused(&["upgrade", "--program", "/no/such/program"])?;
    ensure!(
        code == Some(1) && said.contains("/no/such/program"),
        "{said}"
    );
    run.signal(Signal::SIGTERM)?;
    run.signal(Signal::SIGTERM)?;
    run.code()?;
    world.is_clean(SOON)
}

#[test]
fn a_program_whose_supervisor_dies_is_rolled_back() -> Result<()> {
    let world = World::enter()?;
    let dying = binary::beside("dying_launcher")?;
    ensure!(
        dying.exists(),
        "`cargo build --workspace --bins` builds `{dying}`"
    );
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("demo: power-button=armed", BOOT)?;
    let before = run.pod()?;
    let (code, said) = refused(&["upgrade", "--program", dying.as_str()])?;
    ensure!(
        code == Some(1) && said.contains("ended with exit code 101"),
        "{said}"
    );
    let after = run.pod()?;
    is_of_one_qemu(&before, &after)?;
    assert_eq!(program_of(after.init.pid)?, program_of(before.init.pid)?);
    assert_eq!(
        program_of(after.supervisor.pid)?,
        program_of(before.init.pid)?
    );
    let status = ctl(&["status"])?;
    assert_eq!(status["upgrade"]["stage"], "failed");
    assert_eq!(status["supervisorRestarts"], 0);
    assert_eq!(state()?.0, "Running");
    drop(run.keyboard()?);
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

//! The guest's serial console on a terminal, on a pipe, and not at all.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use tests::process::{Started, Stream};
use tests::run::{BOOT, Launch, Run, SOON, ask, paused_vmi, vmi};
use tests::world::World;
use tests::{binary, pod};

const LEAVE: &[u8] = b"\x1d";
const INTERRUPT: &[u8] = b"\x03";

#[test]
fn a_terminal_types_into_the_guest_leaves_it_and_interrupts_it() -> Result<()> {
    let world = World::enter()?;
    // The terminal's foreground, so that ^C becomes a signal.
    let launch = Launch::through("setsid", &["--ctty", "--wait"]);
    let file = world.path().join("vmi.json");
    std::fs::write(&file, vmi(&[("mode", "serve")]).to_string())?;
    let mut command = launch.args(&["--vmi", file.as_str()]).command();
    let (started, mut keys) = Started::on_terminal(&mut command)?;
    let mut run = Run::from(started);
    let cooked = |keys: &std::fs::File| -> Result<bool> {
        let flags = tcgetattr(keys)?.local_flags;
        Ok(flags.contains(LocalFlags::ICANON | LocalFlags::ISIG))
    };
    run.wait_for("Ctrl-] leaves", SOON)?;
    run.shell()?;
    assert!(!cooked(&keys)?, "every key is the guest's");
    // What the shell echoes of the line differs from what it prints.
    keys.write_all(b"echo typed-$((40 + 2))\n")?;
    run.wait_for("typed-42", SOON)?;
    keys.write_all(LEAVE)?;
    run.wait_for("the guest runs on", SOON)?;
    assert!(cooked(&keys)?, "the terminal is as it was");
    let answer = ask(run.address()?, 8080, "still-there")?;
    assert_eq!(answer, "demo-guest masquerade still-there");
    keys.write_all(INTERRUPT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    let stairs = run.seen().iter().find(|line| line.contains("\u{1b}[K"));
    assert_eq!(stairs, None, "a step that is not long has no progress line");
    world.is_clean(SOON)
}

#[test]
fn many_look_one_types_and_who_cannot_is_told() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&vmi(&[("mode", "serve")]))
        .args(&["--no-console"])
        .start()?;
    run.wait_for("guest: running", SOON)?;
    let console = |more: &[&str]| {
        let mut command = Command::new(binary::virt_launcher());
        command
            .args(["ctl", "console"])
            .args(more)
            .stdin(Stdio::null());
        command
    };
    let mut piped = Started::start(&mut console(&[]))?;
    let told = piped.wait_for("standard input is no terminal", SOON)?;
    piped.wait_for("demo: ready", BOOT)?;
    assert_eq!(piped.said(Stream::Err).collect::<Vec<_>>(), [told]);
    let mut looks = Started::start(&mut console(&["--read-only"]))?;
    looks.wait_for("demo: ready", SOON)?;
    assert_eq!(looks.said(Stream::Err).next(), None);
    let (mut types, mut keys) = Started::on_terminal(&mut console(&[]))?;
    types.wait_for("list of built-in commands", BOOT)?;
    keys.write_all(b"echo typed-$((40 + 2))\n")?;
    for screen in [&mut types, &mut piped, &mut looks] {
        screen.wait_for("typed-42", SOON)?;
    }
    let (mut second, _keys) = Started::on_terminal(&mut console(&[]))?;
    second.wait_for("somebody else types", SOON)?;
    assert_eq!(second.finish(SOON)?.code(), Some(1));
    keys.write_all(LEAVE)?;
    assert_eq!(types.finish(SOON)?.code(), Some(0));
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_background_job_of_a_terminal_is_not_stopped_by_it() -> Result<()> {
    let world = World::enter()?;
    let file = world.path().join("vmi.json");
    let mut vmi = paused_vmi();
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    std::fs::write(&file, vmi.to_string())?;
    let script = "\"$0\" \"$@\" & wait $!";
    let job = Launch::through("setsid", &["--ctty", "--wait", "sh", "-mc", script]);
    let mut command = job.args(&["--vmi", file.as_str()]).command();
    let (started, _keys) = Started::on_terminal(&mut command)?;
    let mut run = Run::from(started);
    run.wait_for("left paused as asked", SOON)?;
    let outer = pod::children(run.child().id())?;
    let outer = outer.first().context("the job is there")?;
    kill(Pid::from_raw(*outer), Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_flood_on_the_console_is_bounded_and_does_not_reach_who_wants_none() -> Result<()> {
    let world = World::enter()?;
    let mut run = Launch::of(&vmi(&[("mode", "flood-console")]))
        .args(&["--no-console"])
        .start()?;
    run.wait_for("guest: running", SOON)?;
    let log = || {
        let mut all = world.runs().into_iter();
        let private = all.find_map(|run| std::fs::read_dir(run.join("private")).ok());
        // Beside the VM's directory lie the sockets.
        let vm = private?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.is_dir())?;
        Some(vm.join("virt-serial0-log"))
    };
    let log = log().expect("there is a console log");
    // It was cut at least once, and QEMU went on.
    let older = log.with_extension("1");
    pod::until(BOOT, || {
        anyhow::ensure!(older.exists(), "{} is not there", older.display());
        Ok(())
    })?;
    let most = 8 << 20;
    for part in [&log, &older] {
        let length = std::fs::metadata(part)?.len();
        assert!(length < most, "{} has {length} bytes", part.display());
    }
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    assert_eq!(run.said(Stream::Out).next(), None);
    world.is_clean(SOON)
}

//! What happens to the pod around a guest: signals, memory, its state directory, its log.

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use tests::cgroup::Group;
use tests::ctl::{changed, ctl};
use tests::namespace;
use tests::pod::{Pod, until};
use tests::run::{BOOT, Launch, SOON, ask, paused_vmi, vmi};
use tests::world::World;

#[test]
fn pid_1_ends_the_guest_at_each_signal_that_asks_for_it() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = paused_vmi();
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ] {
        let mut run = Launch::of(&vmi).start()?;
        run.wait_for("left paused as asked", SOON)?;
        let pod = run.pod()?;
        pod.init.signal(signal)?;
        run.wait_for(signal.as_str(), SOON)?;
        assert_eq!(run.code()?, Some(7), "{signal}: {:#?}", run.seen());
        pod.is_gone(SOON)?;
        world.is_clean(SOON)?;
    }
    Ok(())
}

#[test]
fn a_guest_outlives_memory_pressure_and_an_out_of_memory_kill_is_named() -> Result<()> {
    let _world = World::enter()?;
    let group = Group::make("memory")?;
    let mut run = group.launch().vmi(&vmi(&[("mode", "serve")])).start()?;
    run.ready()?;
    run.shell()?;
    let pod = run.pod()?;
    // What of it can be taken back is: page cache, for one.
    group.set("memory.force_empty", "0")?;
    let used: u64 = group.get("memory.usage_in_bytes")?.parse()?;
    let limit = used + (16 << 20);
    group.set("memory.limit_in_bytes", &limit.to_string())?;
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    ctl(&["status"])?;
    // The guest touches more of its memory than the pod may use.
    let _console = super::shell(&mut run, "dd if=/dev/zero of=/tmp/filled bs=1M count=120")?;
    run.wait_for("out of memory: the kernel killed QEMU", BOOT)?;
    assert_eq!(run.code()?, Some(5), "{:#?}", run.seen());
    let said = run.seen().join("\n");
    for text in ["give it more or the guest less", "SIGKILL"] {
        ensure!(said.contains(text), "`{text}` is not in:\n{said}");
    }
    pod.is_gone(SOON)
}

#[test]
fn a_state_directory_that_turns_read_only_costs_no_guest() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = super::running()?;
    run.ready()?;
    let control = super::control()?;
    let private = control.parent().context("it lies in a directory")?;
    let mut entries = private.read_dir_utf8()?.flatten();
    let vm = entries.find(|entry| entry.path().is_dir());
    let vm = vm.context("the VM's directory")?.into_path();
    // A file system with open logs on it cannot be mounted read-only; a directory can be made immutable.
    let turn = |how: &str| namespace::run("chattr", &[how, vm.as_str()]);
    turn("+i")?;
    assert!(changed(&["pause"])?);
    run.wait_for("will know less", SOON)?;
    super::replace_supervisor(&mut run)?;
    // The journal is an old one: QEMU's word stands.
    assert_eq!(tests::ctl::state()?.0, "Paused");
    turn("-i")?;
    assert!(changed(&["unpause"])?);
    assert_eq!(run.pod()?.qemu.pid, pod.qemu.pid);
    super::power_off(&mut run, &world)
}

#[test]
fn a_run_whose_directory_cannot_be_made_says_so() -> Result<()> {
    let world = World::enter()?;
    let runs = "/run/virt-launcher";
    std::fs::create_dir_all(runs)?;
    namespace::run("mount", &["-t", "tmpfs", "-o", "ro", "none", runs])?;
    let (code, said) = Launch::of(&paused_vmi()).finish()?;
    namespace::run("umount", &[runs])?;
    assert_eq!(code, Some(4), "{said}");
    for text in [runs, "Read-only file system"] {
        ensure!(said.contains(text), "`{text}` is not in:\n{said}");
    }
    std::fs::remove_dir(runs)?;
    world.is_clean(SOON)
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() -> Result<()> {
    let world = World::enter()?;
    let (unread, pipe) = std::io::pipe()?;
    // A page holds a few lines: it is full before the guest runs.
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096))?;
    let file = world.path().join("vmi.json");
    std::fs::write(&file, vmi(&[("mode", "flood-console")]).to_string())?;
    let mut command = Launch::plain()
        .args(&["--vmi", file.as_str()])
        .env("VIRT_LAUNCHER_LOG", "debug")
        .command();
    let mut outer = command.stdout(pipe.try_clone()?).stderr(pipe).spawn()?;
    // Its ends of the pipe; ours would keep it open.
    drop(command);
    until(SOON, || ctl(&["status"]))?;
    ctl(&["wait", "running", "--timeout", "120"])?;
    let pod = until(SOON, || Pod::of(outer.id()))?;
    assert!(changed(&["pause"])?);
    assert!(changed(&["unpause"])?);
    pod.supervisor.signal(Signal::SIGKILL)?;
    pod.supervisor.ended(SOON)?;
    until(SOON, || {
        let status = ctl(&["status"])?;
        ensure!(status["supervisorRestarts"] == 1, "{status:#}");
        Ok(())
    })?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(outer.id())?),
        Signal::SIGTERM,
    )?;
    let status = outer.wait().context("it ends")?;
    assert_eq!(status.code(), Some(0), "{status}");
    drop(unread);
    world.is_clean(SOON)
}

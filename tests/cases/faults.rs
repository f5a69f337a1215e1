//! Operations on a running VM, and faults injected into it: what the operator sees, and that the guest is kept.

#[path = "faults/floods.rs"]
mod floods;
#[path = "faults/images.rs"]
mod images;
#[path = "faults/machine.rs"]
mod machine;
#[path = "faults/pod.rs"]
mod pod;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use camino::Utf8PathBuf;
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::ctl::{changed, ctl, refused, state};
use tests::pod::{Pod, until};
use tests::run::{BOOT, Keyboard, Launch, Run, SOON, ask, vmi};
use tests::world::World;
use tests::{namespace, need};

fn running() -> Result<(Run, Pod)> {
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.wait_for("guest: running", SOON)?;
    let pod = run.pod()?;
    Ok((run, pod))
}

fn is(wanted: (&str, &str)) -> Result<()> {
    let (state, reason) = state()?;
    ensure!(
        (state.as_str(), reason.as_str()) == wanted,
        "{state} ({reason})"
    );
    Ok(())
}

/// Ends a run that is well.
fn power_off(run: &mut Run, world: &World) -> Result<()> {
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

/// A small file system of its own below a directory of the launcher's.
struct Small(&'static str);

impl Small {
    fn mount(path: &'static str, size: &str) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={size},mode=755");
        namespace::run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", path])?;
        Ok(Self(path))
    }

    fn resize(&self, size: &str) -> Result<()> {
        namespace::run("mount", &["-o", &format!("remount,size={size}"), self.0])
    }

    /// KiB.
    fn used(&self) -> Result<u64> {
        let used = Command::new("df")
            .args(["--output=used", "-k", self.0])
            .output()?;
        let used = String::from_utf8_lossy(&used.stdout);
        Ok(used.split_whitespace().last().context("df")?.parse()?)
    }

    /// Ends a run that is well, and looks at what it left.
    fn power_off(self, run: &mut Run, world: &World) -> Result<()> {
        run.signal(Signal::SIGTERM)?;
        assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
        let left = std::fs::read_dir(self.0)?.flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        let lock = std::ffi::OsStr::new(".lock");
        ensure!(left.iter().all(|name| name == lock), "{left:?}");
        namespace::run("umount", &[self.0])?;
        world.is_clean(SOON)
    }
}

/// Kills the supervisor and waits for the next.
fn replace_supervisor(run: &mut Run) -> Result<()> {
    run.pod()?.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for("QEMU is in hand", SOON).map(drop)
}

/// The control socket, as the machine sees it.
fn control() -> Result<Utf8PathBuf> {
    let runs = std::fs::read_dir("/run/virt-launcher")?.flatten();
    let mut sockets = runs.map(|run| run.path().join("private/control.sock"));
    let socket = sockets.find(|path| path.exists());
    Ok(Utf8PathBuf::try_from(socket.context("no control socket")?)?)
}

/// Types a line into the guest's shell. With the socket closed, what the guest has not taken yet would be lost.
fn shell(run: &mut Run, line: &str) -> Result<Keyboard> {
    let mut console = run.keyboard()?;
    console.write_all(line.as_bytes())?;
    console.write_all(b"\n")?;
    Ok(console)
}

#[test]
fn operations_are_idempotent_and_outlive_the_supervisor() -> Result<()> {
    let world = World::enter()?;
    let (mut run, _) = running()?;
    assert!(changed(&["pause"])?);
    assert!(!changed(&["pause"])?);
    ctl(&["wait", "paused", "--timeout", "30"])?;
    is(("Paused", "User"))?;
    replace_supervisor(&mut run)?;
    is(("Paused", "User"))?;
    assert_eq!(ctl(&["status"])?["supervisorRestarts"], 1);
    let (code, said) = refused(&["wait", "running", "--timeout", "1"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("Paused (User)"), "{said}");
    assert!(changed(&["unpause"])?);
    assert!(!changed(&["unpause"])?);
    is(("Running", "Unknown"))?;
    let (code, said) = refused(&["freeze"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("no guest agent is connected"), "{said}");
    assert_eq!(refused(&["ping"])?.0, Some(1));
    let picture = world.path().join("screen.png");
    ctl(&["screenshot", picture.as_str()])?;
    assert!(std::fs::read(&picture)?.starts_with(b"\x89PNG"));
    let core = world.path().join("core.elf");
    ctl(&["memory-dump", core.as_str()])?;
    assert!(std::fs::metadata(&core)?.len() > 256 << 20);
    std::fs::remove_file(core)?;
    assert!(changed(&["kill"])?);
    assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_guest_reboots_softly_without_an_agent() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    run.wait_for("demo: boots=1", BOOT)?;
    run.ready()?;
    assert!(changed(&["soft-reboot"])?);
    assert!(!changed(&["soft-reboot"])?);
    run.wait_for("demo: power-button=pressed", BOOT)?;
    run.wait_for("demo: boots=2", BOOT)?;
    assert_eq!(run.pod()?.qemu.pid, pod.qemu.pid);
    assert_eq!(ctl(&["status"])?["phase"], "running");
    run.ready()?;
    assert!(changed(&["shutdown"])?);
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_full_disk_pauses_the_guest_until_somebody_decides() -> Result<()> {
    let world = World::enter()?;
    let data = Small::mount("/var/lib/virt-launcher", "12m")?;
    let (mut run, _) = running()?;
    run.ready()?;
    run.wait_for("built-in commands", BOOT)?;
    let console = shell(
        &mut run,
        "dd if=/dev/urandom of=/dev/vda bs=1M count=32 conv=fsync && echo \"written=yes=\"",
    )?;
    ctl(&["wait", "paused", "--timeout", "120"])?;
    drop(console);
    is(("Paused", "IOError"))?;
    let full = |status: &Value| {
        let error = &status["ioErrors"][0];
        assert_eq!(error["disk"], "data", "{status:#}");
        assert_eq!(error["no_space"], true, "{status:#}");
    };
    full(&ctl(&["status"])?);
    replace_supervisor(&mut run)?;
    is(("Paused", "IOError"))?;
    full(&ctl(&["status"])?);
    data.resize("256m")?;
    assert!(changed(&["unpause"])?);
    run.wait_for("written=yes=", BOOT)?;
    assert_eq!(ctl(&["status"])?["ioErrors"], serde_json::json!([]));
    data.power_off(&mut run, &world)
}

#[test]
fn hostile_control_clients_harm_nobody() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    let socket = control()?;
    let mut garbage = UnixStream::connect(&socket)?;
    garbage.write_all(&[0xff; 4096])?;
    let mut half = UnixStream::connect(&socket)?;
    half.write_all(b"{\"execute\": \"qmp_cap")?;
    let mut endless = UnixStream::connect(&socket)?;
    let chunk = vec![b'['; 1 << 20];
    // It never negotiates, so it is cut off, however fast it writes.
    while endless.write_all(&chunk).is_ok() {}
    let crowd: Vec<_> = (0..1000)
        .filter_map(|_| {
            let stream = UnixStream::connect(&socket).ok()?;
            stream.set_nonblocking(true).ok()?;
            Some(stream)
        })
        .collect();
    drop(crowd);
    drop((garbage, half, endless));
    until(SOON, || is(("Running", "Unknown")))?;
    assert_eq!(
        run.pod()?.supervisor.pid,
        pod.supervisor.pid,
        "the supervisor lives"
    );
    power_off(&mut run, &world)
}

#[test]
fn a_qemu_that_is_stopped_is_waited_for() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    pod.qemu.signal(Signal::SIGSTOP)?;
    let (code, said) = refused(&["pause"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("was not answered"), "{said}");
    pod.qemu.signal(Signal::SIGCONT)?;
    // What it was told while it stood still it does now.
    until(SOON, || {
        is(("Paused", "User")).or_else(|_| is(("Paused", "Unknown")))
    })?;
    ctl(&["unpause"])?;
    run.ready()?;
    power_off(&mut run, &world)
}

#[test]
fn orphans_are_reaped_and_signals_in_a_storm_lose_nothing() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = running()?;
    let init = pod.init.pid.to_string();
    let status = Command::new(need::tool("nsenter"))
        .args(["-t", &init, "-p", "-m", "sh", "-c"])
        .arg("i=0; while [ $i -lt 2000 ]; do (true & ) ; i=$((i+1)); done")
        .status()?;
    assert!(status.success());
    for _ in 0..2000 {
        pod.init.signal(Signal::SIGCHLD)?;
    }
    until(SOON, || {
        let path = format!("/proc/{init}/task/{init}/children");
        let children = std::fs::read_to_string(path)?;
        let count = children.split_whitespace().count();
        ensure!(count == 2, "PID 1 has {count} children");
        Ok(())
    })?;
    is(("Running", "Unknown"))?;
    run.ready()?;
    power_off(&mut run, &world)
}

#[test]
fn a_full_state_directory_costs_no_guest() -> Result<()> {
    let world = World::enter()?;
    let runs = Small::mount("/run/virt-launcher", "64m")?;
    let (mut run, pod) = running()?;
    run.ready()?;
    runs.resize(&format!("{}k", runs.used()?))?;
    assert!(changed(&["pause"])?);
    run.wait_for("will know less", SOON)?;
    replace_supervisor(&mut run)?;
    // The journal is an old one: QEMU's word stands.
    assert_eq!(state()?.0, "Paused");
    runs.resize("64m")?;
    assert!(changed(&["unpause"])?);
    assert_eq!(run.pod()?.qemu.pid, pod.qemu.pid);
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    runs.power_off(&mut run, &world)
}

#[test]
fn metrics_have_kubevirts_names() -> Result<()> {
    let world = World::enter()?;
    let (mut run, _) = running()?;
    run.ready()?;
    let socket = control()?.with_file_name("metrics.sock");
    let scrape = || -> Result<String> {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: vm\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = scrape()?;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    for name in [
        "cpu_usage_seconds_total{",
        "vcpu_seconds_total{",
        "memory_resident_bytes{",
        "memory_domain_bytes{",
        "memory_actual_balloon_bytes{",
        "network_receive_bytes_total{",
        "storage_read_traffic_bytes_total{",
    ] {
        assert!(
            text.contains(&format!("\nkubevirt_vmi_{name}")),
            "{name}: {text}"
        );
    }
    replace_supervisor(&mut run)?;
    assert!(scrape()?.starts_with("HTTP/1.1 200 OK"), "scraped on");
    power_off(&mut run, &world)
}

//! QEMU of another time, with a main loop that stands still, and guests that will not stay up.

use anyhow::Result;
use nix::sys::signal::Signal;
use tests::cgroup::Group;
use tests::ctl::{ctl, refused};
use tests::need;
use tests::run::{BOOT, Launch, SOON, paused_vmi, vmi};
use tests::world::World;

/// Greets on the monitor that the arguments name, and agrees to everything.
const OLD_QEMU: &str = r#"
($number) = map { /id=charmonitor,fd=(\d+)/ } @ARGV;
open($listener, "+<&=", $number) or die $!;
accept($client, $listener) or die $!;
syswrite($client, qq({"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\r\n));
while (<$client>) {
    my ($id) = /"id":"([^"]*)"/;
    syswrite($client, qq({"return": {}, "id": "$id"}\r\n));
}"#;

#[test]
fn an_old_qemu_is_5_and_named() -> Result<()> {
    let world = World::enter()?;
    let perl = need::tool("perl");
    let script = format!("exec {perl} -e '{OLD_QEMU}' -- \"$@\"");
    let qemu = world.program("old-qemu", &script)?;
    let (code, said) = Launch::of(&paused_vmi())
        .args(&["--qemu", qemu.as_str()])
        .finish()?;
    assert_eq!(code, Some(5), "{said}");
    for text in ["QEMU 7.2.1 is older than 10", "--qemu PATH"] {
        assert!(said.contains(text), "`{text}` is not in:\n{said}");
    }
    world.is_clean(SOON)
}

#[test]
fn a_monitor_that_hangs_costs_no_guest() -> Result<()> {
    let _world = World::enter()?;
    // Of a v1 group single threads can be members: QEMU's main loop stands still, and the vCPU runs on.
    let ice = Group::make("freezer")?;
    let (mut run, pod) = super::running()?;
    ice.set("tasks", &pod.qemu.pid.to_string())?;
    ice.set("freezer.state", "FROZEN")?;
    let (code, said) = refused(&["pause"])?;
    assert_eq!(code, Some(1));
    assert!(said.contains("was not answered"), "{said}");
    run.pod()?.supervisor.signal(Signal::SIGKILL)?;
    run.wait_for(
        "QEMU's monitor does not answer; the guest is left alone",
        SOON,
    )?;
    ice.set("freezer.state", "THAWED")?;
    run.wait_for("QEMU is in hand", SOON)?;
    // The pause was on its way when nobody listened.
    ctl(&["unpause"])?;
    run.ready()?;
    assert_eq!(run.pod()?.qemu.pid, pod.qemu.pid);
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    pod.is_gone(SOON)
}

#[test]
fn a_guest_that_triple_faults_is_reset() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "reboot"), ("reboots", "1")]);
    // How this guest's kernel reboots (`reboot=t`: an empty table of interrupts, and one interrupt).
    let firmware = &mut vmi["spec"]["domain"]["firmware"];
    let args = firmware["kernelBoot"]["kernelArgs"].as_str();
    let args = format!("{} reboot=t", args.unwrap_or_default());
    firmware["kernelBoot"]["kernelArgs"] = args.into();
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("demo: reboot", BOOT)?;
    let qemu = run.pod()?.qemu.pid;
    run.wait_for("demo: boots=2", BOOT)?;
    run.ready()?;
    assert_eq!(run.pod()?.qemu.pid, qemu, "the same QEMU");
    super::is(("Running", "Unknown"))?;
    super::power_off(&mut run, &world)
}

#[test]
fn a_guest_that_reboots_in_a_loop_is_left_to_it_and_ends_when_asked() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "reboot"), ("reboots", "1000")]);
    vmi["spec"]["terminationGracePeriodSeconds"] = 3.into();
    let mut run = Launch::of(&vmi).start()?;
    run.wait_for("demo: boots=1", BOOT)?;
    let pod = run.pod()?;
    run.wait_for("demo: boots=3", BOOT)?;
    super::is(("Running", "Unknown"))?;
    assert_eq!(run.pod()?.qemu.pid, pod.qemu.pid, "the same QEMU");
    assert_eq!(run.pod()?.supervisor.pid, pod.supervisor.pid);
    run.signal(Signal::SIGTERM)?;
    // It may hear the button between two boots.
    let code = run.code()?;
    assert!([Some(0), Some(7)].contains(&code), "{code:?}");
    pod.is_gone(SOON)?;
    world.is_clean(SOON)
}

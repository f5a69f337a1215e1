//! Runs that come to nothing: the exit code says why, the message what to do, and nothing is left.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::run::{Launch, SOON, paused_vmi, vmi};
use tests::world::World;

#[track_caller]
fn says(said: &str, texts: &[&str]) {
    for text in texts {
        assert!(said.contains(text), "`{text}` is not in:\n{said}");
    }
}

#[test]
fn a_wrong_command_line_is_2() -> Result<()> {
    let world = World::enter()?;
    for (args, text) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--vmi", "/nonexistent.yaml"], "/nonexistent.yaml"),
        (&["--disk", "nameless"], "NAME=PATH"),
        (&[], "--vmi FILE"),
    ] {
        let (code, said) = Launch::plain().args(args).finish()?;
        assert_eq!(code, Some(2), "{said}");
        says(&said, &[text]);
    }
    world.is_clean(SOON)
}

#[test]
fn a_refused_vmi_is_3_with_every_violation() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[]);
    vmi["spec"]["domain"]["memory"]["guest"] = "0".into();
    vmi["spec"]["terminationGracePeriodSeconds"] = (-1).into();
    let (code, said) = Launch::of(&vmi).finish()?;
    assert_eq!(code, Some(3), "{said}");
    let paths = [
        "spec.domain.memory.guest",
        "spec.terminationGracePeriodSeconds",
    ];
    says(&said, &paths);
    world.is_clean(SOON)
}

#[test]
fn a_kernel_that_is_not_there_is_3() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[]);
    let kernel = &mut vmi["spec"]["domain"]["firmware"]["kernelBoot"]["container"];
    kernel["kernelPath"] = "/boot/no-kernel".into();
    kernel["initrdPath"] = "/boot/no-initrd".into();
    let (code, said) = Launch::of(&vmi).finish()?;
    assert_eq!(code, Some(3), "{said}");
    let told = [
        "spec.domain.firmware.kernelBoot.container.kernelPath",
        "no-kernel`: No such file",
        "spec.domain.firmware.kernelBoot.container.initrdPath",
        "--kernel-boot-dir",
    ];
    says(&said, &told);
    world.is_clean(SOON)
}

#[test]
fn disks_that_are_not_there_are_3_all_at_once_and_what_was_made_is_undone() -> Result<()> {
    let world = World::enter()?;
    let made = world.path().join("made.img");
    let mut vmi = vmi(&[]);
    vmi["spec"]["domain"]["devices"]["disks"] =
        json!([{"name": "made"}, {"name": "root"}, {"name": "claim"}, {"name": "host"}]);
    vmi["spec"]["volumes"] = json!([
        {"name": "made", "hostDisk": {"path": made, "type": "DiskOrCreate", "capacity": "1Mi"}},
        {"name": "root", "containerDisk": {"image": "quay.io/example/root"}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "host", "hostDisk": {"path": "/nonexistent/host.img", "type": "Disk"}},
    ]);
    let (code, said) = Launch::of(&vmi)
        .args(&["--disk", "root=/nonexistent/root.qcow2"])
        .finish()?;
    assert_eq!(code, Some(3), "{said}");
    let told = [
        "disk `root`: `/nonexistent/root.qcow2`",
        "disk `claim`",
        "--disk claim=PATH",
        "disk `host`: `/nonexistent/host.img`",
    ];
    says(&said, &told);
    assert!(!made.exists());
    world.is_clean(SOON)
}

#[test]
fn a_kvm_that_runs_no_guest_is_4_and_says_what_to_do() -> Result<()> {
    let world = World::enter()?;
    let fitness = launcher::kvm::probe(&numa::HostRoot::default());
    let mut run = Launch::without_emulation().vmi(&paused_vmi()).start()?;
    if fitness.is_fit() {
        run.wait_for("left paused as asked", SOON)?;
        return Ok(());
    }
    let status = run.finish(SOON)?;
    let said = run.seen().join("\n");
    assert_eq!(status.code(), Some(4), "{said}");
    says(&said, &["/dev/kvm", "--allow-emulation"]);
    world.is_clean(SOON)
}

#[test]
fn no_qemu_is_5() -> Result<()> {
    let world = World::enter()?;
    let (code, said) = Launch::of(&vmi(&[]))
        .args(&["--qemu", "/nonexistent/qemu"])
        .finish()?;
    assert_eq!(code, Some(5), "{said}");
    says(&said, &["`/nonexistent/qemu`", "No such file"]);
    world.is_clean(SOON)
}

#[test]
fn a_qemu_that_refuses_is_5_with_its_last_words() -> Result<()> {
    let world = World::enter()?;
    let script = "printf 'qemu: no \\033[31mcolour today\\n' >&2; exit 1";
    let qemu = world.program("unwilling-qemu", script)?;
    let (code, said) = Launch::of(&vmi(&[]))
        .args(&["--qemu", qemu.as_str()])
        .finish()?;
    assert_eq!(code, Some(5), "{said}");
    says(&said, &["exit code 1", "qemu: no [31mcolour today"]);
    assert!(!said.contains("monitor"), "the cause alone: {said}");
    world.is_clean(SOON)
}

#[test]
fn an_image_that_another_vm_has_is_3_and_stays_with_it() -> Result<()> {
    let world = World::enter()?;
    let image = world.path().join("one.img");
    std::fs::File::create(&image)?.set_len(1 << 20)?;
    let mut vmi = vmi(&[]);
    vmi["spec"]["volumes"][0] =
        json!({"name": "data", "hostDisk": {"path": image, "type": "Disk"}});
    vmi["spec"]["startStrategy"] = "Paused".into();
    let mut holder = Launch::of(&vmi).start()?;
    holder.wait_for("left paused as asked", SOON)?;
    let (code, said) = Launch::of(&vmi).finish()?;
    assert_eq!(code, Some(3), "{said}");
    says(&said, &["one.img", "in use by another QEMU"]);
    assert!(holder.pod()?.qemu.ended(Duration::ZERO).is_err());
    Ok(())
}

//! A real guest agent, Debian's, in the demo guest: what `ctl` asks is what it does.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use tests::ctl::{changed, ctl, output, refused};
use tests::pod::until;
use tests::run::{BOOT, Launch, SOON, vmi};
use tests::world::World;
use tests::{guest, need};

/// What a distribution's init would be asked to do.
const SHUTDOWN: &str = "#!/bin/sh\nexec /bin/poweroff\n";

/// The demo guest with `qemu-ga` and the libraries that it names, as one more archive behind its initramfs.
fn boot_dir(world: &Utf8Path) -> Result<Utf8PathBuf> {
    let (demo, boot, root) = (
        guest::kernel_boot_dir(),
        world.join("boot"),
        world.join("root"),
    );
    std::fs::create_dir_all(&boot)?;
    std::fs::copy(demo.join("vmlinux"), boot.join("vmlinux"))?;
    let agent = need::tool("qemu-ga");
    let told = Command::new(need::tool("ldd")).arg(&agent).output()?;
    let told = String::from_utf8(told.stdout)?;
    let libraries = told
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(Utf8PathBuf::from);
    let mut names = String::new();
    for file in libraries.chain([agent]) {
        let inside = file.strip_prefix("/")?;
        let to = root.join(inside);
        std::fs::create_dir_all(to.parent().context("it lies in a directory")?)?;
        std::fs::copy(&file, &to)?;
    }
    std::fs::create_dir_all(root.join("sbin"))?;
    std::fs::write(root.join("sbin/shutdown"), SHUTDOWN)?;
    use std::os::unix::fs::PermissionsExt;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join("sbin/shutdown"), executable)?;
    let found = Command::new("find").arg(".").current_dir(&root).output()?;
    names.push_str(&String::from_utf8(found.stdout)?);
    let mut cpio = Command::new(need::tool("cpio"))
        .args(["--quiet", "--create", "--format=newc"])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = cpio.stdin.take().context("it has a standard input")?;
    let writer = std::thread::spawn(move || stdin.write_all(names.as_bytes()));
    let archive = cpio.wait_with_output()?;
    writer.join().expect("the thread does not panic")?;
    ensure!(archive.status.success(), "cpio failed");
    let mut initramfs = std::fs::read(demo.join("initramfs.cpio"))?;
    initramfs.extend(archive.stdout);
    std::fs::write(boot.join("initramfs.cpio"), initramfs)?;
    Ok(boot)
}

#[test]
fn debians_agent_does_what_it_is_asked() -> Result<()> {
    let world = World::enter()?;
    let boot = boot_dir(world.path())?;
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["domain"]["memory"]["guest"] = "512Mi".into();
    let mut run = Launch::of(&vmi).kernel_boot_dir(&boot).start()?;
    run.shell()?;
    let (code, said) = refused(&["ping"])?;
    ensure!(code == Some(1) && said.contains("no guest agent"), "{said}");
    let mut console = run.keyboard()?;
    console
        .write_all(b"/usr/sbin/qemu-ga -m virtio-serial -t /run -f /run/g -p /dev/vport*p1 &\n")?;
    ctl(&["wait", "agent", "--timeout", "120"])?;
    assert_eq!(ctl(&["ping"])?["agent"], "answers");

    let asked = output(&["exec", "sh", "--", "-c", "echo out; echo err >&2; exit 3"])?;
    assert_eq!(asked.status.code(), Some(3));
    assert_eq!(asked.stdout, b"out\n");
    assert!(String::from_utf8_lossy(&asked.stderr).contains("err"));
    let (code, said) = refused(&["exec", "/no/such/program"])?;
    ensure!(code == Some(1), "{said}");

    assert!(changed(&["freeze", "--thaw-after", "0"])?);
    assert_eq!(ctl(&["status"])?["filesystems"], "frozen");
    assert!(changed(&["thaw"])?);
    assert_eq!(ctl(&["status"])?["filesystems"], "thawed");
    // And by itself.
    assert!(changed(&["freeze", "--thaw-after", "1"])?);
    until(SOON, || {
        let status = ctl(&["status"])?;
        ensure!(
            status["filesystems"] == "thawed",
            "{}",
            status["filesystems"]
        );
        Ok(())
    })?;

    let told = until(BOOT, || {
        let status = ctl(&["status"])?;
        let agent = status["agent"].clone();
        ensure!(agent.to_string().contains("eth0"), "{agent}");
        Ok(agent)
    })?;
    ensure!(
        told.to_string().contains("10.0.2.2"),
        "its interfaces: {told}"
    );

    assert!(changed(&["shutdown"])?);
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

//! The demo guest on a bare QEMU: what other cases read off its console holds without the launcher.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use camino::Utf8Path;
use tempfile::TempDir;
use tests::process::Started;
use tests::{guest, namespace, need};

/// A guest takes some ten seconds under emulation; this only ends a hang.
const BOOT: Duration = Duration::from_secs(120);

/// QEMU with a seed, a data disk, QEMU's own user-mode network, and the console on stdout.
fn qemu(directory: &Utf8Path, orders: &[(&str, &str)]) -> Result<Command> {
    let seed = guest::write_seed(directory, &guest::user_data(orders))?;
    let data = directory.join("data.img");
    std::fs::File::create(&data)?.set_len(64 << 20)?;
    let mut qemu = guest::bare_qemu("");
    qemu.args([
        "-netdev",
        "user,id=net,hostname=demo,dnssearch=demo.example",
    ])
    .args(["-device", "virtio-net-pci,netdev=net"])
    .args(["-drive", &format!("file={data},format=raw,if=virtio")])
    .args([
        "-drive",
        &format!("file={seed},format=raw,if=none,id=seed,readonly=on"),
    ])
    .args(["-device", "ide-cd,drive=seed"])
    .args(["-device", "pvpanic", "-action", "panic=exit-failure"])
    .args(["-serial", "stdio"]);
    Ok(qemu)
}

fn directory() -> Result<TempDir> {
    need::root();
    namespace::enter_fresh_network()?;
    Ok(tempfile::tempdir()?)
}

fn path(directory: &TempDir) -> Result<&Utf8Path> {
    Utf8Path::from_path(directory.path()).context("a path in UTF-8")
}

#[test]
fn it_shows_its_network_and_disk_and_powers_off() -> Result<()> {
    let directory = directory()?;
    let server = TcpListener::bind("127.0.0.1:0")?;
    // QEMU's user-mode network has the host's loopback at 10.0.2.2.
    let address = format!("10.0.2.2:{}", server.local_addr()?.port());
    std::thread::spawn(move || -> Result<()> {
        let (stream, _) = server.accept()?;
        let mut greeting = String::new();
        BufReader::new(&stream).read_line(&mut greeting)?;
        (&stream).write_all(format!("heard {greeting}").as_bytes())?;
        Ok(())
    });
    let mut guest =
        Started::start(qemu(path(&directory)?, &[("server", &address)])?.stdin(Stdio::null()))?;
    guest.wait_for("demo: ready", BOOT)?;
    for (key, value) in [
        ("seed", "/dev/sr0"),
        ("mode", "demo"),
        ("power-button", "armed"),
        ("disk", "vda 131072 sectors written and read"),
        ("boots", "1"),
        ("address", "10.0.2.15/24"),
        ("gateway", "10.0.2.2"),
        ("search", "demo.example"),
        ("hostname", "demo"),
        ("kernel-hostname", "demo"),
        ("link-mtu", "1500"),
        ("listening", "8080"),
        ("outside", "heard demo-guest demo"),
    ] {
        assert_eq!(guest.demo(key), Some(value), "{key}: {:#?}", guest.seen());
    }
    Ok(())
}

#[test]
fn it_powers_off_by_itself_when_told_so() -> Result<()> {
    let directory = directory()?;
    let orders = [("poweroff-after-check", "true")];
    let mut guest = Started::start(qemu(path(&directory)?, &orders)?.stdin(Stdio::null()))?;
    guest.wait_for("demo: poweroff", BOOT)?;
    assert!(guest.finish(BOOT)?.success());
    Ok(())
}

#[test]
fn it_powers_off_at_the_power_button() -> Result<()> {
    let directory = directory()?;
    let mut command = qemu(path(&directory)?, &[("mode", "serve")])?;
    let monitor = path(&directory)?.join("monitor");
    command
        .args(["-monitor", &format!("unix:{monitor},server=on,wait=off")])
        .stdin(Stdio::null());
    let mut guest = Started::start(&mut command)?;
    guest.wait_for("demo: ready", BOOT)?;
    let mut stream = std::os::unix::net::UnixStream::connect(&monitor)?;
    stream.write_all(b"system_powerdown\n")?;
    guest.wait_for("demo: power-button=pressed", BOOT)?;
    assert!(guest.finish(BOOT)?.success());
    Ok(())
}

#[test]
fn it_panics_when_told_so() -> Result<()> {
    let directory = directory()?;
    let orders = [("mode", "panic")];
    let mut guest = Started::start(qemu(path(&directory)?, &orders)?.stdin(Stdio::null()))?;
    guest.wait_for("demo: panic", BOOT)?;
    assert!(!guest.finish(BOOT)?.success(), "{:#?}", guest.seen());
    Ok(())
}

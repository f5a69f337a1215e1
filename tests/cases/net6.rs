//! A whole VM in IPv6: it finds its router, leases its address, and is reached both ways.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::Utf8Path;
use nix::sys::signal::Signal;
use tests::pod::Pod;
use tests::process::Started;
use tests::{binary, guest, namespace, need, project};

/// A guest takes some ten seconds under emulation; this only ends a hang.
const PATIENCE: Duration = Duration::from_secs(180);

/// An address for documents (RFC 3849), as 198.51.100.1 of the example is.
const OUTSIDE: &str = "2001:db8::1";

fn ip(arguments: &str) -> Result<()> {
    namespace::run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Answers each caller with `word`, and tells who it was.
fn serve(address: &str, word: &'static str) -> Result<mpsc::Receiver<IpAddr>> {
    let listener = TcpListener::bind((address, 8080))?;
    let (sender, callers) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let peer = stream.peer_addr().expect("its peer").ip();
            // Whoever waits for the answer may be gone, and the test with it.
            let _gone = writeln!(stream, "{word}").is_err() || sender.send(peer).is_err();
        }
    });
    Ok(callers)
}

/// The example, told to use IPv6 as well and to stay.
fn vmi(directory: &Utf8Path, orders: &str) -> Result<camino::Utf8PathBuf> {
    let text = std::fs::read_to_string(project().join("examples/masquerade.json"))?;
    let from = "poweroff-after-check: true";
    let to = format!("{orders}\\n  server6: 2001:db8::1");
    ensure!(text.contains(from), "the example has no `{from}`");
    let path = directory.join("vmi.json");
    std::fs::write(&path, text.replace(from, &to))?;
    Ok(path)
}

#[test]
fn a_guest_has_ipv6_both_ways() -> Result<()> {
    need::root();
    namespace::enter_fresh_network()?;
    ip("address add 198.51.100.1/32 dev lo")?;
    ip("address add 2001:db8::1/128 dev lo nodad")?;
    let _callers = serve("198.51.100.1", "outside-4")?;
    let callers = serve(OUTSIDE, "outside-6")?;
    // Not in /run: QEMU opens disks with O_DIRECT.
    let directory = tempfile::tempdir_in(std::env::temp_dir())?;
    let directory = Utf8Path::from_path(directory.path()).context("a path in UTF-8")?;
    let vmi = vmi(directory, "ipv6: true")?;
    let mut vm = Started::start(
        Command::new(binary::virt_launcher())
            .args(["run", "--vmi", vmi.as_str(), "--allow-emulation"])
            .args(["--kernel-boot-dir", guest::kernel_boot_dir().as_str()])
            .stdin(Stdio::null()),
    )?;
    vm.wait_for("demo: ready", PATIENCE)?;
    for (key, value) in [
        ("address", "10.0.2.2/24"),
        ("gateway6", "fe80::ff:fe00:0"),
        ("mtu6", "1500"),
        ("address6", "fd10:0:2::2"),
        ("lease6", "86313600"),
        ("outside6", "outside-6"),
    ] {
        assert_eq!(vm.demo(key), Some(value), "{key}: {:#?}", vm.seen());
    }
    // Through NAT it comes from its pod, and there its port is reached in turn.
    let pod = callers.recv_timeout(PATIENCE)?;
    assert_eq!(pod, "fd7b:93d1:2c45::6440:2".parse::<IpAddr>()?);
    let mut stream = TcpStream::connect((pod, 8080))?;
    writeln!(stream, "inside-6")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    ensure!(
        answer.starts_with("demo-guest") && answer.contains("inside-6"),
        "{answer}"
    );
    // The next supervisor goes on with the sockets that PID 1 kept: it could not make them any more.
    let pod = Pod::of(vm.child().id())?;
    pod.supervisor.signal(Signal::SIGKILL)?;
    vm.wait_for("dhcpv6: fd10:0:2::2/120 is for whoever asks", PATIENCE)?;
    vm.wait_for("router advertisement: sent to ff02::1", PATIENCE)?;
    vm.signal(Signal::SIGTERM)?;
    let status = vm.finish(PATIENCE)?;
    ensure!(status.success(), "{status}: {:#?}", vm.seen());
    Ok(())
}

/// What the notice says is all that the guest needs.
#[test]
fn without_cap_net_raw_a_guest_is_told_by_hand() -> Result<()> {
    need::root();
    namespace::enter_fresh_network()?;
    ip("address add 198.51.100.1/32 dev lo")?;
    ip("address add 2001:db8::1/128 dev lo nodad")?;
    let _callers = serve("198.51.100.1", "outside-4")?;
    let callers = serve(OUTSIDE, "outside-6")?;
    let directory = tempfile::tempdir_in(std::env::temp_dir())?;
    let directory = Utf8Path::from_path(directory.path()).context("a path in UTF-8")?;
    let vmi = vmi(directory, "ipv6: fd10:0:2::2/120\\n  gateway6: fd10:0:2::1")?;
    let mut vm = Started::start(
        Command::new("setpriv")
            .args(["--bounding-set=-net_raw"])
            .arg(binary::virt_launcher())
            .args(["run", "--vmi", vmi.as_str(), "--allow-emulation"])
            .args(["--kernel-boot-dir", guest::kernel_boot_dir().as_str()])
            .stdin(Stdio::null()),
    )?;
    let notice = vm.wait_for("no router advertises itself without CAP_NET_RAW", PATIENCE)?;
    ensure!(
        notice.contains("the address `fd10:0:2::2/120`")
            && notice.contains("the gateway `fd10:0:2::1` and MTU 1500"),
        "{notice}"
    );
    vm.wait_for("demo: ready", PATIENCE)?;
    assert_eq!(vm.demo("outside6"), Some("outside-6"), "{:#?}", vm.seen());
    let pod = callers.recv_timeout(PATIENCE)?;
    assert_eq!(pod, "fd7b:93d1:2c45::6440:2".parse::<IpAddr>()?);
    let said = vm.seen().join("\n");
    ensure!(
        said.contains("dhcpv6:") && !said.contains("router advertisement:"),
        "{said}"
    );
    vm.signal(Signal::SIGTERM)?;
    let status = vm.finish(PATIENCE)?;
    ensure!(status.success(), "{status}: {:#?}", vm.seen());
    Ok(())
}

#[test]
fn a_plan_says_whether_a_router_will_advertise_itself() -> Result<()> {
    need::root();
    namespace::enter_fresh_network()?;
    ip("link add eth0 type veth peer name other")?;
    ip("address add fd00::5/64 dev eth0 nodad")?;
    let vmi = project().join("examples/masquerade.json");
    let plan = |wrapped: &[&str]| -> Result<serde_json::Value> {
        let output = Command::new("setpriv")
            .args(wrapped)
            .arg(binary::virt_launcher())
            .args(["plan", "--vmi", vmi.as_str(), "--output", "json"])
            .output()
            .context("`setpriv` of util-linux")?;
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())
    };
    let told = |plan: &serde_json::Value| plan["notices"].to_string().contains("CAP_NET_RAW");
    let with = plan(&["--bounding-set=+all"])?;
    assert_eq!(with["network"]["nics"][0]["ipv6"]["advertised"], true);
    ensure!(!told(&with), "{}", with["notices"]);
    let without = plan(&["--bounding-set=-net_raw"])?;
    assert_eq!(without["network"]["nics"][0]["ipv6"]["advertised"], false);
    ensure!(told(&without), "{}", without["notices"]);
    Ok(())
}

//! A whole VM in IPv6: it finds its router, leases its address, and is reached both ways.

use std::io::Write;
use std::net::{IpAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::run::{BOOT, Launch, Run, SOON, ask, vmi};
use tests::world::{OUTSIDE, World};
use tests::{binary, namespace, need, project};

/// An address for documents (RFC 3849), as that of [`World`] is.
const OUTSIDE6: &str = "2001:db8::1";
/// The pod's, of the first local run.
const POD: &str = "fd7b:93d1:2c45::6440:2";

fn ip(arguments: &str) -> Result<()> {
    namespace::run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// A world whose outside has an IPv6 address as well, and servers at both; whoever comes by IPv6 is told.
fn world() -> Result<(World, mpsc::Receiver<IpAddr>)> {
    let world = World::enter()?;
    ip(&format!("address add {OUTSIDE6}/128 dev lo nodad"))?;
    let (sender, callers) = mpsc::channel();
    for (address, word) in [
        (IpAddr::from(OUTSIDE), "outside-4"),
        (OUTSIDE6.parse()?, "outside-6"),
    ] {
        let listener = TcpListener::bind((address, 8080))?;
        let sender = sender.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let peer = stream.peer_addr().expect("its peer").ip();
                // Whoever waits for the answer may be gone, and the test with it.
                let _gone = writeln!(stream, "{word}").is_err()
                    || (peer.is_ipv6() && sender.send(peer).is_err());
            }
        });
    }
    Ok((world, callers))
}

/// The example, told to use IPv6 as well and to stay.
fn guest(orders: &[(&str, &str)]) -> Value {
    let usual = [
        ("mode", "serve"),
        ("server", "198.51.100.1:8080"),
        ("server6", OUTSIDE6),
    ];
    vmi(&[&usual[..], orders].concat())
}

fn says(vm: &mut Run, wanted: &[(&str, &str)]) -> Result<()> {
    vm.ready()?;
    for (key, value) in wanted {
        assert_eq!(vm.demo(key), Some(*value), "{key}: {:#?}", vm.seen());
    }
    Ok(())
}

fn ends(mut vm: Run, world: &World) -> Result<()> {
    vm.signal(Signal::SIGTERM)?;
    assert_eq!(vm.code()?, Some(0), "{:#?}", vm.seen());
    world.is_clean(SOON)
}

#[test]
fn a_guest_has_ipv6_both_ways() -> Result<()> {
    let (world, callers) = world()?;
    let mut vm = Launch::of(&guest(&[("ipv6", "true")])).start()?;
    says(
        &mut vm,
        &[
            ("address", "10.0.2.2/24"),
            ("gateway6", "fe80::ff:fe00:0"),
            ("mtu6", "1500"),
            ("address6", "fd10:0:2::2"),
            ("lease6", "86313600"),
            ("outside6", "outside-6"),
        ],
    )?;
    // Through NAT it comes from its pod, and there its port is reached in turn.
    let pod = callers.recv_timeout(SOON)?;
    assert_eq!(pod, POD.parse::<IpAddr>()?);
    assert_eq!(
        ask(pod, 8080, "inside-6")?,
        "demo-guest masquerade inside-6 outside-4"
    );
    // The next supervisor goes on with the sockets that PID 1 kept: it could not make them any more.
    vm.pod()?.supervisor.signal(Signal::SIGKILL)?;
    vm.wait_for("dhcpv6: fd10:0:2::2/120 is for whoever asks", BOOT)?;
    vm.wait_for("router advertisement: sent to ff02::1", BOOT)?;
    ends(vm, &world)
}

#[test]
fn a_guests_network_is_the_vmis_where_it_names_one() -> Result<()> {
    let (world, callers) = world()?;
    let mut vmi = guest(&[("ipv6", "true")]);
    let pod = &mut vmi["spec"]["networks"][0]["pod"];
    pod["vmNetworkCIDR"] = "10.7.0.0/28".into();
    pod["vmIPv6NetworkCIDR"] = "fd07:7::/112".into();
    let mut vm = Launch::of(&vmi).start()?;
    says(
        &mut vm,
        &[
            ("address", "10.7.0.2/28"),
            ("gateway", "10.7.0.1"),
            ("gateway6", "fe80::ff:fe00:0"),
            ("address6", "fd07:7::2"),
            ("outside6", "outside-6"),
        ],
    )?;
    assert_eq!(callers.recv_timeout(SOON)?, POD.parse::<IpAddr>()?);
    ends(vm, &world)
}

/// What the notice says is all that the guest needs.
#[test]
fn without_cap_net_raw_a_guest_is_told_by_hand() -> Result<()> {
    let (world, callers) = world()?;
    let vmi = guest(&[("ipv6", "fd10:0:2::2/120"), ("gateway6", "fd10:0:2::1")]);
    let mut vm = Launch::through("setpriv", &["--bounding-set=-net_raw"])
        .vmi(&vmi)
        .start()?;
    let notice = vm.wait_for("no router advertises itself without CAP_NET_RAW", BOOT)?;
    ensure!(
        notice.contains("the address `fd10:0:2::2/120`")
            && notice.contains("the gateway `fd10:0:2::1` and MTU 1500"),
        "{notice}"
    );
    says(&mut vm, &[("outside6", "outside-6")])?;
    assert_eq!(callers.recv_timeout(SOON)?, POD.parse::<IpAddr>()?);
    let said = vm.seen().join("\n");
    ensure!(
        said.contains("dhcpv6:") && !said.contains("router advertisement:"),
        "{said}"
    );
    ends(vm, &world)
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

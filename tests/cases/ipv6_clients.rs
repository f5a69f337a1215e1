//! Stock IPv6 clients, and the kernel itself, against our DHCPv6 server and router advertisements.

use std::net::{SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use launcher::net::mac::MacAddr;
use launcher::net::plan::Ipv6Plan;
use launcher::net::{dhcp6, ra};
use serde_json::Value;
use tests::flood::Asking;

use crate::rig::{self, Rig, Run};
use crate::served::{Lines, event, run, run_a_while};

const LINK: &str = "k6t-eth0";
const GUEST: &str = "fd10:0:2::2";

fn plan() -> Ipv6Plan {
    let address = |text: &str| text.parse().expect("an address");
    Ipv6Plan {
        link: LINK.to_owned(),
        router: MacAddr([2, 0, 0, 0, 0, 0]),
        address: "fd10:0:2::2/120".parse().expect("a network"),
        gateway: address("fd10:0:2::1"),
        nameservers: vec![address("fd00::a"), address("fd00::b")],
        search: ["default.svc.cluster.local", "cluster.local"]
            .map(str::to_owned)
            .to_vec(),
        mtu: 1450,
        advertised: true,
    }
}

fn serve() -> Result<Lines<Value>> {
    Ok(run(dhcp6::Server::bind(&plan())?.serve()))
}

/// From an fd that was opened before, as the supervisor has it after its own restart.
fn advertise() -> Result<Lines<Value>> {
    let fd = ra::Server::bind(&plan())?.into_fd();
    Ok(run(ra::Server::from_fd(fd, plan())?.serve()))
}

/// What a command prints on the guest's side once `is` holds of it: what a guest's kernel or daemon does after the last
/// packet has no event for us.
fn eventually(rig: &Rig, argv: &[&str], is: impl Fn(&str) -> bool) -> Result<String> {
    let started = Instant::now();
    loop {
        let output = rig.in_guest(argv).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if is(&text) {
            return Ok(text);
        }
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "{argv:?} says: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn expect_route(rig: &Rig) -> Result<()> {
    let route = eventually(rig, &["ip", "-6", "route", "show", "default"], |text| {
        text.contains("via fe80::ff:fe00:0 ")
    })?;
    ensure!(
        route.contains("eth0") && route.contains("proto ra"),
        "{route}"
    );
    Ok(())
}

#[test]
fn the_kernel_takes_route_prefix_and_mtu() -> Result<()> {
    let rig = Rig::new()?;
    let events = advertise()?;
    expect_route(&rig)?;
    event(&events, "ra.advertised")?;
    eventually(&rig, &["ip", "-6", "route", "show"], |text| {
        text.lines()
            .any(|route| route.starts_with("fd10:0:2::/120 dev eth0"))
    })?;
    let mtu = ["cat", "/proc/sys/net/ipv6/conf/eth0/mtu"];
    eventually(&rig, &mtu, |text| text.trim() == "1450")?;
    // Nobody makes an address out of the prefix by himself.
    let scope = ["ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"];
    assert_eq!(eventually(&rig, &scope, |_| true)?, "");

    // A host that comes up later asks, and is answered by itself.
    rig.in_guest(&["ip", "link", "set", "eth0", "down"]).run()?;
    rig.in_guest(&["ip", "link", "set", "eth0", "up"]).run()?;
    expect_route(&rig)?;
    assert_eq!(event(&events, "ra.answered")?["to"], "fe80::ff:fe00:9");
    Ok(())
}

/// One client's run: with a lease file that outlives it.
fn start_dhclient(rig: &Rig, more: &[&str]) -> Result<()> {
    let config = rig.file(
        "dhclient6.conf",
        "also request dhcp6.name-servers, dhcp6.domain-search;\n",
    )?;
    let (leases, script, pid) = (
        rig.path("dhclient6.leases"),
        rig.path("script"),
        rig.path("dhclient6.pid"),
    );
    let mut argv = vec![
        "dhclient", "-6", "-d", "-1", "-v", "-cf", &config, "-lf", &leases, "-sf", &script, "-pf",
        &pid,
    ];
    argv.extend(more);
    argv.push("eth0");
    let said = std::fs::File::create(rig.path("dhclient6.log"))?;
    rig.in_guest(&argv).stderr(said).spawn()?;
    Ok(())
}

/// Without a word to the server, as at a power cut.
fn kill_dhclient(rig: &Rig) -> Result<()> {
    // It writes the file after it has set its first address.
    let file = rig.path("dhclient6.pid");
    let pid = eventually(rig, &["cat", &file], |text| text.ends_with('\n'))?;
    rig.in_guest(&["kill", "-KILL", pid.trim()]).run()?;
    Ok(std::fs::remove_file(file)?)
}

fn expect_what_dhclient_knows(call: &rig::Call) {
    call.expect(&[
        ("new_ip6_address", GUEST),
        ("new_dhcp6_name_servers", "fd00::a fd00::b"),
        (
            "new_dhcp6_domain_search",
            "default.svc.cluster.local. cluster.local.",
        ),
        ("new_max_life", "86313600"),
        ("new_preferred_life", "86313600"),
        ("new_dhcp6_server_id", "0:3:0:1:2:0:0:0:0:0"),
    ]);
}

#[test]
fn dhclient_leases_keeps_its_lease_over_a_restart_and_releases() -> Result<()> {
    let rig = Rig::new()?;
    let server = dhcp6::Server::bind(&plan())?;
    let kept: OwnedFd = server.as_fd().try_clone_to_owned()?;
    let (_events, first) = run_a_while(server.serve());
    start_dhclient(&rig, &[])?;
    expect_what_dhclient_knows(&rig.call(&["BOUND6"])?);
    kill_dhclient(&rig)?;

    // The supervisor dies, and another one takes its socket up.
    drop(first);
    let events = run(dhcp6::Server::from_fd(kept, plan())?.serve());
    start_dhclient(&rig, &[])?;
    expect_what_dhclient_knows(&rig.call(&["REBOOT6", "REBIND6", "BOUND6"])?);
    event(&events, "dhcp6.confirmed")?;
    kill_dhclient(&rig)?;

    start_dhclient(&rig, &["-r"])?;
    let released = event(&events, "dhcp6.released")?;
    assert_eq!(released["address"], GUEST);
    assert_eq!(released["to"], "[fe80::ff:fe00:9%2]:546");
    Ok(())
}

#[test]
fn dhclient_is_refused_an_earlier_lease_and_begins_again() -> Result<()> {
    let rig = Rig::new()?;
    let events = serve()?;
    start_dhclient(&rig, &[])?;
    rig.call(&["BOUND6"])?;
    kill_dhclient(&rig)?;
    let path = rig.path("dhclient6.leases");
    let leases = std::fs::read_to_string(&path)?;
    ensure!(leases.contains(GUEST), "{leases}");
    std::fs::write(&path, leases.replace(GUEST, "fd10:0:9::2"))?;
    start_dhclient(&rig, &[])?;
    event(&events, "dhcp6.confirmed")?;
    expect_what_dhclient_knows(&rig.call(&["BOUND6"])?);
    Ok(())
}

#[test]
fn dhcpcd_asks_as_advertised_and_leases_at_once() -> Result<()> {
    let rig = Rig::new()?;
    let _router = advertise()?;
    let events = serve()?;
    let config = rig.file(
        "dhcpcd6.conf",
        "duid\noption rapid_commit\noption dhcp6_name_servers, dhcp6_domain_search\n",
    )?;
    let script = rig.path("script");
    rig.in_guest(&["dhcpcd", "-B", "-6", "-f", &config, "-c", &script, "eth0"])
        .spawn()?;
    rig.call(&["ROUTERADVERT"])?.expect(&[
        ("nd1_from", "fe80::ff:fe00:0"),
        ("nd1_flags", "MO"),
        ("nd1_lifetime", "65535"),
        ("nd1_hoplimit", "64"),
        ("nd1_mtu", "1450"),
        ("nd1_source_address", "020000000000"),
        ("nd1_prefix_information1_prefix", "fd10:0:2::"),
        ("nd1_prefix_information1_length", "120"),
        ("nd1_prefix_information1_flags", "L"),
        ("nd1_rdnss1_servers", "fd00::a fd00::b"),
        (
            "nd1_dnssl1_search",
            "default.svc.cluster.local cluster.local",
        ),
    ]);
    rig.call(&["BOUND6"])?.expect(&[
        ("new_dhcp6_ia_na1_ia_addr1", GUEST),
        ("new_dhcp6_ia_na1_ia_addr1_vltime", "86313600"),
        ("new_dhcp6_ia_na1_t1", "43156800"),
        ("new_dhcp6_ia_na1_t2", "69050880"),
        ("new_dhcp6_name_servers", "fd00::a fd00::b"),
        (
            "new_dhcp6_domain_search",
            "default.svc.cluster.local cluster.local",
        ),
    ]);
    event(&events, "dhcp6.leased")?;
    expect_route(&rig)
}

#[test]
fn networkd_asks_as_advertised() -> Result<()> {
    let rig = Rig::new()?;
    let _router = advertise()?;
    let events = serve()?;
    let network = rig.file(
        "10-eth0.network",
        "[Match]\nName=eth0\n[Network]\nIPv6AcceptRA=yes\nLinkLocalAddressing=ipv6\n[IPv6AcceptRA]\nUseDomains=yes\n",
    )?;
    let networkd = "/lib/systemd/systemd-networkd";
    let start = format!(
        "mkdir -p /run/systemd/network && cp {network} /run/systemd/network/ && \
         chmod -R a+rX /run/systemd && exec {networkd}"
    );
    rig.in_guest(&["sh", "-c", &start])
        .stderr(std::fs::File::create(rig.path("networkd.log"))?)
        .spawn()?;
    event(&events, "dhcp6.leased")
        .with_context(|| std::fs::read_to_string(rig.path("networkd.log")).unwrap_or_default())?;
    expect_route(&rig)?;
    let addresses = ["ip", "-6", "addr", "show", "dev", "eth0"];
    eventually(&rig, &addresses, |text| {
        text.contains("inet6 fd10:0:2::2/128 scope global")
    })?;
    let state = ["sh", "-c", "cat /run/systemd/netif/links/*"];
    // In an order of its own: it keeps what it was told in sets.
    eventually(&rig, &state, |text| {
        let has = |key, value| {
            text.lines()
                .any(|line| line.starts_with(key) && line.contains(value))
        };
        has("DNS=", "fd00::a")
            && has("DNS=", "fd00::b")
            && has("DOMAINS=", "default.svc.cluster.local")
    })?;
    Ok(())
}

/// This process's resident memory in KiB.
fn resident() -> Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmRSS")?.parse()?)
}

/// Sends from the guest's link-local address, from an unprivileged port and from a raw socket.
fn flood(rig: &Rig, count: usize) -> Result<()> {
    rig.as_guest(move || {
        let asking = Asking::on("eth0", "fe80::ff:fe00:9".parse()?)?;
        (0..count).try_for_each(|_| asking.ask())
    })
}

#[test]
fn a_flood_of_both_costs_no_memory_and_passes() -> Result<()> {
    let rig = Rig::new()?;
    let router = advertise()?;
    let server = serve()?;
    event(&router, "ra.advertised")?;
    flood(&rig, 500)?;
    event(&router, "ra.flood")?;
    event(&server, "dhcp6.flood")?;
    let before = resident()?;
    flood(&rig, 30_000)?;
    let grown = resident()? - before;
    ensure!(grown < 4096, "30000 messages of each kind cost {grown} KiB");
    start_dhclient(&rig, &[])?;
    expect_what_dhclient_knows(&rig.call(&["BOUND6"])?);
    rig.in_guest(&["ip", "link", "set", "eth0", "down"]).run()?;
    rig.in_guest(&["ip", "link", "set", "eth0", "up"]).run()?;
    expect_route(&rig)
}

#[test]
fn only_the_link_is_answered() -> Result<()> {
    let rig = Rig::new()?;
    let events = serve()?;
    rig.as_guest(|| {
        let eth0 = nix::net::if_::if_nametoindex("eth0")?;
        std::process::Command::new("ip")
            .args(["addr", "add", "fd10:0:2::9/120", "dev", "eth0", "nodad"])
            .run()?;
        let to = SocketAddrV6::new("fe80::ff:fe00:0".parse()?, 547, 0, eth0);
        for from in ["fd10:0:2::9", "fe80::ff:fe00:9"] {
            let at = SocketAddrV6::new(from.parse()?, 546, 0, eth0);
            UdpSocket::bind(at)?.send_to(&[11, 1, 2, 3], to)?;
        }
        Ok(())
    })?;
    let refused = event(&events, "dhcp6.ignored")?;
    assert_eq!(refused["reason"], "not from the link");
    assert_eq!(
        event(&events, "dhcp6.informed")?["to"],
        "[fe80::ff:fe00:9%2]:546"
    );
    Ok(())
}

#[test]
fn a_server_knows_its_socket() -> Result<()> {
    let _rig = Rig::new()?;
    let mut other = plan();
    other.link = "lo".to_owned();
    let refused = dhcp6::Server::from_fd(dhcp6::Server::bind(&plan())?.into_fd(), other.clone());
    ensure!(refused.is_err(), "another link's");
    let refused = ra::Server::from_fd(ra::Server::bind(&plan())?.into_fd(), other);
    ensure!(refused.is_err(), "another link's");
    let refused = ra::Server::from_fd(dhcp6::Server::bind(&plan())?.into_fd(), plan());
    ensure!(refused.is_err(), "a datagram socket");
    let refused = dhcp6::Server::from_fd(ra::Server::bind(&plan())?.into_fd(), plan());
    ensure!(refused.is_err(), "a raw socket");
    other_missing()
}

/// What the kernel refuses is told with what was tried.
fn other_missing() -> Result<()> {
    let mut missing = plan();
    missing.link = "k6t-none".to_owned();
    let errors = [
        dhcp6::Server::bind(&missing)
            .err()
            .map(|error| error.to_string()),
        ra::Server::bind(&missing)
            .err()
            .map(|error| error.to_string()),
    ];
    assert_eq!(
        errors.map(Option::unwrap_or_default),
        ["dhcpv6", "router advertisement"].map(|service| format!(
            "socket option `SO_BINDTODEVICE` cannot be set on the {service} socket of `k6t-none`"
        ))
    );
    Ok(())
}

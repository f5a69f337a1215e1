//! Stock DHCP clients against our server, each in a guest's place behind a bridge.

use anyhow::Result;
use launcher::net::dhcp::Server;
use launcher::net::service::ServiceError;
use nix::sched::{CloneFlags, unshare};

#[path = "ipv6_clients.rs"]
mod ipv6;
#[path = "dhcp_rig.rs"]
mod rig;
#[path = "dhcp_routes.rs"]
mod routes;
#[path = "dhcp_served.rs"]
mod served;

use rig::{Call, Rig, Run, ip, plan};
use served::event;

/// 121 as clients print it, where they take the bytes as they come: the default route last.
const ROUTES_AS_BYTES: &str = "16 10 99 10 0 2 7 0 10 0 2 1";

fn start_udhcpc(rig: &Rig, nic: &str) -> Result<()> {
    let script = rig.path("script");
    let pid = rig.path("udhcpc.pid");
    let mut argv = vec![
        "busybox", "udhcpc", "-f", "-n", "-i", nic, "-s", &script, "-p", &pid,
    ];
    for option in [
        "search",
        "staticroutes",
        "mtu",
        "ntpsrv",
        "tftp",
        "bootfile",
        "224",
    ] {
        argv.extend(["-O", option]);
    }
    rig.in_guest(&argv).spawn()?;
    Ok(())
}

fn signal_udhcpc(rig: &Rig, signal: &str) -> Result<()> {
    let pid = std::fs::read_to_string(rig.path("udhcpc.pid"))?;
    rig.in_guest(&["kill", signal, pid.trim()]).run()
}

fn expect_what_udhcpc_knows(call: &Call) {
    call.expect(&[
        ("ip", "10.0.2.2"),
        ("subnet", "255.255.255.0"),
        ("mask", "24"),
        ("serverid", "10.0.2.1"),
        ("router", "10.0.2.1"),
        ("dns", "10.96.0.10 10.96.0.11"),
        ("hostname", "demo-guest"),
        ("domain", "default.svc.cluster.local"),
        (
            "search",
            "default.svc.cluster.local svc.cluster.local cluster.local",
        ),
        ("mtu", "1450"),
        ("staticroutes", "10.99.0.0/16 10.0.2.7 0.0.0.0/0 10.0.2.1"),
        ("ntpsrv", "192.0.2.8"),
        ("tftp", "192.0.2.7"),
        ("bootfile", "pxelinux.0"),
        ("siaddr", "192.0.2.7"),
        ("opt224", "73697465"),
        ("lease", "86313600"),
    ]);
}

#[test]
fn udhcpc_leases_renews_and_releases() -> Result<()> {
    let rig = Rig::new()?;
    let events = rig.serve(plan("k6t-eth0"))?;
    start_udhcpc(&rig, "eth0")?;
    expect_what_udhcpc_knows(&rig.call(&["bound"])?);
    assert_eq!(event(&events, "dhcp.offered")?["to"], "255.255.255.255:68");
    assert_eq!(event(&events, "dhcp.leased")?["to"], "255.255.255.255:68");

    signal_udhcpc(&rig, "-USR1")?;
    expect_what_udhcpc_knows(&rig.call(&["renew"])?);
    assert_eq!(event(&events, "dhcp.leased")?["to"], "10.0.2.2:68");

    signal_udhcpc(&rig, "-USR2")?;
    rig.call(&["deconfig"])?;
    let released = event(&events, "dhcp.released")?;
    assert_eq!(released["client"], "02:00:00:00:00:09");
    assert_eq!(released["address"], "10.0.2.2");
    Ok(())
}

const DHCLIENT: &str = "
option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, routers, domain-name, domain-name-servers, domain-search, host-name, interface-mtu,
    rfc3442-classless-static-routes, ntp-servers, tftp-server-name, bootfile-name;
timeout 30;
";

/// Runs until it has a lease, then stays; says on stderr what it sends and gets.
fn start_dhclient(rig: &Rig, leases: &str) -> Result<String> {
    let config = rig.file("dhclient.conf", DHCLIENT)?;
    let leases = rig.file("dhclient.leases", leases)?;
    let said = rig.path("dhclient.log");
    let (script, pid) = (rig.path("script"), rig.path("dhclient.pid"));
    let argv = [
        "dhclient", "-4", "-d", "-1", "-v", "-cf", &config, "-lf", &leases, "-sf", &script, "-pf",
        &pid, "eth0",
    ];
    rig.in_guest(&argv)
        .stderr(std::fs::File::create(&said)?)
        .spawn()?;
    Ok(said)
}

fn expect_what_dhclient_knows(call: &Call) {
    call.expect(&[
        ("new_ip_address", "10.0.2.2"),
        ("new_subnet_mask", "255.255.255.0"),
        ("new_dhcp_server_identifier", "10.0.2.1"),
        ("new_routers", "10.0.2.1"),
        ("new_domain_name_servers", "10.96.0.10 10.96.0.11"),
        ("new_host_name", "demo-guest"),
        ("new_domain_name", "default.svc.cluster.local"),
        (
            "new_domain_search",
            "default.svc.cluster.local. svc.cluster.local. cluster.local.",
        ),
        ("new_interface_mtu", "1450"),
        ("new_rfc3442_classless_static_routes", ROUTES_AS_BYTES),
        ("new_ntp_servers", "192.0.2.8"),
        ("new_tftp_server_name", "192.0.2.7"),
        ("new_bootfile_name", "pxelinux.0"),
        ("new_dhcp_lease_time", "86313600"),
    ]);
}

#[test]
fn dhclient_leases() -> Result<()> {
    let rig = Rig::new()?;
    let _events = rig.serve(plan("k6t-eth0"))?;
    start_dhclient(&rig, "")?;
    expect_what_dhclient_knows(&rig.call(&["BOUND"])?);
    Ok(())
}

#[test]
fn dhclient_is_refused_an_earlier_lease_and_begins_again() -> Result<()> {
    let rig = Rig::new()?;
    let events = rig.serve(plan("k6t-eth0"))?;
    let said = start_dhclient(
        &rig,
        r#"lease {
  interface "eth0";
  fixed-address 192.168.77.5;
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 4294967295;
  option dhcp-message-type 5;
  option dhcp-server-identifier 192.168.77.1;
  renew never;
  rebind never;
  expire never;
}
"#,
    )?;
    expect_what_dhclient_knows(&rig.call(&["BOUND"])?);
    assert_eq!(event(&events, "dhcp.refused")?["to"], "255.255.255.255:68");
    let said = std::fs::read_to_string(said)?;
    assert!(said.contains("DHCPNAK"), "{said}");
    Ok(())
}

const DHCPCD: &str = "
duid
option domain_name_servers, domain_name, domain_search, host_name, interface_mtu, classless_static_routes
option ntp_servers, tftp_server_name, bootfile_name
noarp
noipv4ll
";

fn start_dhcpcd(rig: &Rig, more: &[&str]) -> Result<()> {
    let config = rig.file("dhcpcd.conf", DHCPCD)?;
    let script = rig.path("script");
    let mut argv = vec!["dhcpcd", "-B", "-4", "-f", &config, "-c", &script];
    argv.extend(more);
    argv.push("eth0");
    rig.in_guest(&argv).spawn()?;
    Ok(())
}

fn expect_what_dhcpcd_knows(call: &Call) {
    call.expect(&[
        ("new_subnet_mask", "255.255.255.0"),
        ("new_dhcp_server_identifier", "10.0.2.1"),
        ("new_domain_name_servers", "10.96.0.10 10.96.0.11"),
        ("new_host_name", "demo-guest"),
        ("new_domain_name", "default.svc.cluster.local"),
        (
            "new_domain_search",
            "default.svc.cluster.local svc.cluster.local cluster.local",
        ),
        ("new_interface_mtu", "1450"),
        (
            "new_classless_static_routes",
            "10.99.0.0/16 10.0.2.7 0.0.0.0/0 10.0.2.1",
        ),
        ("new_ntp_servers", "192.0.2.8"),
        ("new_tftp_server_name", "192.0.2.7"),
        ("new_bootfile_name", "pxelinux.0"),
    ]);
}

#[test]
fn dhcpcd_leases() -> Result<()> {
    let rig = Rig::new()?;
    let _events = rig.serve(plan("k6t-eth0"))?;
    start_dhcpcd(&rig, &[])?;
    let call = rig.call(&["BOUND"])?;
    expect_what_dhcpcd_knows(&call);
    call.expect(&[
        ("new_ip_address", "10.0.2.2"),
        ("new_dhcp_lease_time", "86313600"),
    ]);
    Ok(())
}

#[test]
fn dhcpcd_is_informed_about_an_address_of_its_own() -> Result<()> {
    let rig = Rig::new()?;
    let events = rig.serve(plan("k6t-eth0"))?;
    rig.in_guest(&["ip", "addr", "add", "10.0.2.50/24", "dev", "eth0"])
        .run()?;
    start_dhcpcd(&rig, &["--inform"])?;
    let call = rig.call(&["INFORM"])?;
    expect_what_dhcpcd_knows(&call);
    call.expect(&[("new_ip_address", "10.0.2.50"), ("new_dhcp_lease_time", "")]);
    assert_eq!(event(&events, "dhcp.informed")?["to"], "10.0.2.50:68");
    Ok(())
}

#[test]
fn each_bridge_has_its_own_server() -> Result<()> {
    let rig = Rig::new()?;
    rig.bridge("k6t-net1", "net1")?;
    let first = rig.serve(plan("k6t-eth0"))?;
    let second = rig.serve(plan("k6t-net1"))?;
    for (nic, events, silent) in [("net1", &second, &first), ("eth0", &first, &second)] {
        start_udhcpc(&rig, nic)?;
        let call = rig.call(&["bound"])?;
        call.expect(&[("interface", nic), ("ip", "10.0.2.2")]);
        event(events, "dhcp.leased")?;
        let others: Vec<_> = silent.try_iter().collect();
        assert!(
            others
                .iter()
                .all(|event| event["fields"]["event"] == "dhcp.serving"),
            "{others:?}"
        );
        signal_udhcpc(&rig, "-KILL")?;
        rig.in_guest(&["ip", "addr", "flush", "dev", nic]).run()?;
    }
    Ok(())
}

#[test]
fn a_lease_outlives_the_server() -> Result<()> {
    let rig = Rig::new()?;
    let (_events, serving) = rig.serve_a_while(plan("k6t-eth0"))?;
    start_udhcpc(&rig, "eth0")?;
    expect_what_udhcpc_knows(&rig.call(&["bound"])?);
    drop(serving);
    // Nothing was kept but the plan.
    let (events, _serving) = rig.serve_a_while(plan("k6t-eth0"))?;
    signal_udhcpc(&rig, "-USR1")?;
    expect_what_udhcpc_knows(&rig.call(&["renew"])?);
    assert_eq!(event(&events, "dhcp.leased")?["address"], "10.0.2.2");
    Ok(())
}

#[test]
fn a_flood_and_a_lost_link_pass() -> Result<()> {
    let rig = Rig::new()?;
    let events = rig.serve(plan("k6t-eth0"))?;
    start_udhcpc(&rig, "eth0")?;
    rig.call(&["bound"])?;
    rig.flood(vec![1; 400], 20_000)?;
    event(&events, "dhcp.flood")?;
    signal_udhcpc(&rig, "-KILL")?;
    ip("link set k6t-eth0 down")?;
    ip("link set k6t-eth0 up")?;
    start_udhcpc(&rig, "eth0")?;
    expect_what_udhcpc_knows(&rig.call(&["bound"])?);
    Ok(())
}

/// Bytes that this process holds.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok(pages * 4096)
}

#[test]
fn a_flood_of_good_requests_costs_what_its_rate_allows() -> Result<()> {
    let rig = Rig::new()?;
    let events = rig.serve(plan("k6t-eth0"))?;
    rig.in_guest(&["ip", "addr", "add", "10.0.2.2/24", "dev", "eth0"])
        .run()?;
    let mut discover = vec![0; 244];
    discover[..3].copy_from_slice(&[1, 1, 6]);
    discover[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    discover[236..].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    let (before, started) = (resident()?, std::time::Instant::now());
    rig.flood(discover, 200_000)?;
    // What waits in the kernel at the end is a few dozen.
    event(&events, "dhcp.flood")?;
    let waited = started.elapsed();
    let offered: Vec<_> = events
        .try_iter()
        .filter(|event| event["fields"]["event"] == "dhcp.offered")
        .collect();
    let left_out = offered
        .last()
        .map_or(0, |event| event["fields"]["left_out"].as_u64().unwrap_or(0));
    // Thirty-two at once, then one in 50 ms, whatever the machine does meanwhile.
    let most = 32 + waited.as_millis() / 50 + 2;
    let answered = u128::try_from(offered.len())? + u128::from(left_out);
    assert!(answered <= most, "{answered} of at most {most}");
    let grown = resident()?.saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    Ok(())
}

#[test]
fn a_server_needs_its_link_and_knows_its_socket() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let missing = Server::bind(&plan("k6t-eth0")).expect_err("there is no such link");
    assert!(
        matches!(
            missing,
            ServiceError::Option {
                option: "SO_BINDTODEVICE",
                ..
            }
        ),
        "{missing:?}"
    );
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let refused = Server::from_fd(stranger.into(), plan("k6t-eth0")).expect_err("not ours");
    assert!(
        matches!(refused, ServiceError::Foreign { .. }),
        "{refused:?}"
    );

    ip("link add k6t-eth0 type bridge")?;
    let fd = Server::bind(&plan("k6t-eth0"))?.into_fd();
    let other_link = Server::from_fd(fd, plan("k6t-net1")).expect_err("bound to another link");
    assert!(
        matches!(other_link, ServiceError::Foreign { .. }),
        "{other_link:?}"
    );
    Ok(())
}

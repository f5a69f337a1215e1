//! Stock clients that set their own addresses and routes, on a point-to-point address as Calico gives it: the gateway is
//! outside of every network, and the guest must be told how to reach it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use launcher::net::plan::DhcpPlan;
use tests::need;
use tests::process::Started;

use super::rig::{Rig, Run, ip, plan};
use super::served::event;

/// Long enough for a loaded machine; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bridge of a pod whose address is point-to-point, as Calico gives it; 203.0.113.1 is outside.
fn point_to_point() -> Result<DhcpPlan> {
    ip("addr flush dev k6t-eth0")?;
    for address in ["169.254.75.10", "169.254.1.1", "203.0.113.1"] {
        ip(&format!("addr add {address}/32 dev k6t-eth0"))?;
    }
    ip("route add 10.244.0.5/32 dev k6t-eth0")?;
    let address = |text: &str| text.parse().expect("an address");
    let net = |text: &str| text.parse().expect("a network");
    Ok(DhcpPlan {
        address: net("10.244.0.5/32"),
        server: address("169.254.75.10"),
        router: Some(address("169.254.1.1")),
        routes: vec![
            (net("169.254.1.1/32"), address("0.0.0.0")),
            (net("0.0.0.0/0"), address("169.254.1.1")),
        ],
        ..plan("k6t-eth0")
    })
}

/// Starts the client, waits until the kernel has its default route, and reaches the outside by it.
fn reaches_the_outside(rig: &Rig, client: &mut Command) -> Result<()> {
    let events = rig.serve(point_to_point()?)?;
    let mut routes = Started::start(&mut rig.in_guest(&["ip", "monitor", "route"]))?;
    // It does not say when it listens: it does once it tells of this.
    let mark = |verb| {
        rig.in_guest(&["ip", "route", verb, "blackhole", "198.51.100.0/24"])
            .run()
    };
    loop {
        mark("add")?;
        mark("del")?;
        if routes
            .wait_for("198.51.100.0/24", Duration::from_millis(200))
            .is_ok()
        {
            break;
        }
    }
    let _client = Started::start(client)?;
    event(&events, "dhcp.leased")?;
    routes.wait_for("default via 169.254.1.1", PATIENCE)?;
    let shown = rig.in_guest(&["ip", "route"]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("169.254.1.1 dev eth0"), "{shown}");
    rig.in_guest(&["busybox", "ping", "-c", "1", "-w", "10", "203.0.113.1"])
        .run()
}

#[test]
fn dhcpcd_does() -> Result<()> {
    let rig = Rig::new()?;
    let config = rig.file(
        "dhcpcd.conf",
        "duid\noption classless_static_routes, interface_mtu\nnoarp\nnoipv4ll\n",
    )?;
    let argv = [
        "dhcpcd",
        "-B",
        "-4",
        "-f",
        &config,
        "-c",
        "/bin/true",
        "eth0",
    ];
    reaches_the_outside(&rig, &mut rig.in_guest(&argv))
}

#[test]
fn dhclient_does() -> Result<()> {
    let rig = Rig::new()?;
    // Debian's own configuration and scripts: they ask for and set classless routes.
    let leases = rig.file("leases", "")?;
    let pid = rig.path("pid");
    let argv = [
        "dhclient", "-4", "-d", "-1", "-lf", &leases, "-pf", &pid, "eth0",
    ];
    reaches_the_outside(&rig, &mut rig.in_guest(&argv))
}

#[test]
fn udhcpc_does() -> Result<()> {
    let rig = Rig::new()?;
    // Debian's own script: it takes the router alone, and knows addresses like this one.
    let argv = [
        "busybox",
        "udhcpc",
        "-f",
        "-i",
        "eth0",
        "-s",
        "/etc/udhcpc/default.script",
    ];
    reaches_the_outside(&rig, &mut rig.in_guest(&argv))
}

const NETWORKD: &str = "
mkdir -p /run/systemd/network /run/systemd/netif
printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n' >/run/systemd/network/10.network
chown -R systemd-network:systemd-network /run/systemd/netif
# It waits for udev unless /sys is read-only, as in a container.
mount -o remount,ro /sys
export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console
exec /lib/systemd/systemd-networkd
";

#[test]
fn systemd_networkd_does() -> Result<()> {
    need::path("/lib/systemd/systemd-networkd");
    let rig = Rig::new()?;
    let argv = ["sh", "-euc", NETWORKD];
    reaches_the_outside(&rig, &mut rig.in_guest(&argv))
}

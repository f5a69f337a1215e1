//! Stock clients that set their own addresses and routes, on a point-to-point address as Calico gives it: the gateway is
//! outside of every network, and the guest must be told how to reach it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::need;
use tests::process::Started;

use super::rig::{Rig, Run};
use super::served::event;

/// Long enough for a loaded machine; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the client, waits until the kernel has its default route, and reaches the outside by it.
fn reaches_the_outside(rig: &Rig, client: &mut Command) -> Result<()> {
    let plan = rig.point_to_point()?;
    let events = rig.serve(plan)?;
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

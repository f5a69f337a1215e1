//! As a container's entrypoint: PID 1 of a pod that somebody else made.

use std::fs;
use std::net::{IpAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::namespace::run;
use tests::pod;
use tests::run::{BOOT, Launch, Run, SOON, vmi};
use tests::world::{World, said};

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// A pod's NIC, its other end in a network namespace named `node`.
fn pod_nic() -> Result<()> {
    nic_with(&[
        "ip address add 192.0.2.2/24 dev eth0",
        "ip -n node address add 192.0.2.1/24 dev veth0",
        "ip route add default via 192.0.2.1",
    ])
}

/// As [`pod_nic`], with these addresses and routes.
fn nic_with(addresses: &[&str]) -> Result<()> {
    let pair = [
        "ip netns add node",
        "ip link add eth0 mtu 1400 address 02:00:00:aa:bb:cc type veth peer name veth0 netns node",
        "ip link set eth0 up",
        "ip -n node link set veth0 up",
    ];
    for command in pair.iter().chain(addresses) {
        let words: Vec<_> = command.split(' ').collect();
        run(words[0], &words[1..])?;
    }
    Ok(())
}

/// Everything that a run may touch.
fn network() -> Result<String> {
    let links = said("ip", &["-oneline", "-details", "address", "show"])?;
    let lasting = links.lines().filter(|line| !line.contains("fe80"));
    let lasting: Vec<_> = lasting.collect();
    Ok([
        lasting.join("\n"),
        said("ip", &["route", "show"])?,
        said("nft", &["list", "ruleset"])?,
    ]
    .join("\n"))
}

fn entrypoint() -> Launch {
    let pod = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    Launch::through("unshare", &pod)
}

#[test]
fn it_runs_the_vm_in_the_pod_it_is_in() -> Result<()> {
    let _world = World::enter()?;
    pod_nic()?;
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["domain"]["devices"]["disks"][1] =
        json!({"name": "cloudinit", "cdrom": {"bus": "scsi"}});
    let mut run = entrypoint().vmi(&vmi).start()?;
    run.wait_for("guest: running", SOON)?;
    guest_says(&[
        ("seed", "/dev/sr0"),
        ("mac", "02:00:00:aa:bb:cc"),
        ("address", "10.0.2.2/24"),
        ("mtu", "1400"),
    ])?;
    serves_the_node_at(POD)?;
    ends(&mut run)
}

/// As Calico has it: the pod's address is a network by itself, and its gateway is outside of every network.
#[test]
fn a_bridged_guest_takes_over_a_point_to_point_address() -> Result<()> {
    let _world = World::enter()?;
    nic_with(&[
        "ip address add 10.244.0.5/32 dev eth0",
        "ip route add 169.254.1.1 dev eth0 scope link",
        "ip route add default via 169.254.1.1",
        "ip -n node address add 169.254.1.1/32 dev veth0",
        "ip -n node route add 10.244.0.5 dev veth0 scope link",
    ])?;
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["domain"]["devices"]["interfaces"] = json!([{"name": "default", "bridge": {}}]);
    let mut run = entrypoint().vmi(&vmi).start()?;
    run.wait_for("guest: running", SOON)?;
    guest_says(&[
        ("mac", "02:00:00:aa:bb:cc"),
        ("address", "10.244.0.5/32"),
        ("gateway", "169.254.1.1"),
        ("routes", "169.254.1.1/32 0.0.0.0 0.0.0.0/0 169.254.1.1"),
        ("mtu", "1400"),
    ])?;
    // And back by that gateway.
    serves_the_node_at("10.244.0.5".parse()?)?;
    ends(&mut run)
}

/// Waits until the guest has said all. In a pod the console is on its socket and in its log, not among the launcher's own
/// lines.
fn guest_says(wanted: &[(&str, &str)]) -> Result<()> {
    let console = pod::until(BOOT, || {
        let mut vms = fs::read_dir("/run/kubevirt-private")?.flatten();
        let vm = vms
            .find(|vm| vm.path().is_dir())
            .context("no VM's directory")?;
        let console = fs::read_to_string(vm.path().join("virt-serial0-log"))?;
        ensure!(console.contains("demo: ready"), "{console}");
        Ok(console)
    })?;
    for (key, value) in wanted {
        let line = format!("demo: {key}={value}\r\n");
        assert!(console.contains(&line), "{line}: {console}");
    }
    Ok(())
}

/// Asks the guest from the node.
fn serves_the_node_at(address: IpAddr) -> Result<()> {
    let node = fs::File::open("/run/netns/node")?;
    let answer = tests::namespace::inside(&node, || tests::run::ask(address, 8080, "a-word"))?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    Ok(())
}

/// By the signal that a kubelet sends PID 1.
fn ends(run: &mut Run) -> Result<()> {
    let init = pod::children(run.child().id())?;
    let init = init.first().context("there is no PID 1")?;
    kill(Pid::from_raw(*init), Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    Ok(())
}

#[test]
fn a_start_that_fails_late_leaves_the_pod_as_it_was() -> Result<()> {
    let _world = World::enter()?;
    pod_nic()?;
    let before = network()?;
    // DHCP is the last thing that can fail.
    let somebody = UdpSocket::bind(("0.0.0.0", 67))?;
    let mut run = entrypoint().vmi(&vmi(&[])).start()?;
    let status = run.finish(SOON)?;
    let lines = run.seen().join("\n");
    assert_eq!(status.code(), Some(4), "{lines}");
    for text in ["for dhcp", "67", "Address already in use"] {
        assert!(lines.contains(text), "`{text}` is not in:\n{lines}");
    }
    assert_eq!(network()?, before);
    let images = "/run/kubevirt-ephemeral-disks /run/libvirt";
    for directory in images.split(' ') {
        let left = said("find", &[directory, "-type", "f"]).unwrap_or_default();
        assert_eq!(left, "", "images are left");
    }
    drop(somebody);
    Ok(())
}

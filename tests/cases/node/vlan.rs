//! The second VMI's other network: VLAN 100 of a bridge whose uplink is the node's NIC, tagged on the wire, untagged in the
//! guest, which knows nothing of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::node::pod::Pod;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};
use tests::process::Started;
use tests::{binary, guest, namespace, project};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "vlan-100-behind-a-bridge",
        shape: &DEFAULT,
        run: in_a_pod,
    },
    Case {
        name: "vlan-100-of-a-local-run",
        shape: &DEFAULT,
        run: of_a_local_run,
    },
];

const LONG: Duration = Duration::from_secs(100);
const GUEST: &str = "192.0.2.2";

/// `br1`, which keeps VLANs apart, with an uplink that carries 100 and 200 tagged: `wire1` is its far end. Not the
/// node's igb, whose emulation with VFs lets no tagged broadcast in.
struct Bridge;

impl Bridge {
    fn make() -> Result<Self> {
        let bridge = Self;
        for command in [
            "ip link add br1 type bridge vlan_filtering 1",
            "ip link add uplink type veth peer name wire1 netns wire",
            "ip link set uplink master br1 up",
            "bridge vlan add dev uplink vid 100",
            "bridge vlan add dev uplink vid 200",
            "ip link set br1 up",
        ] {
            run(command)?;
        }
        for (link, vlan, address) in [
            ("wire1", 0, "192.0.2.3/24"),
            ("wire1.100", 100, "192.0.2.1/24"),
            ("wire1.200", 200, "192.0.2.4/24"),
        ] {
            if vlan > 0 {
                let id = vlan.to_string();
                let of = [
                    "link", "add", "link", "wire1", "name", link, "type", "vlan", "id", &id,
                ];
                nic::on_wire("ip", &of)?;
            }
            nic::on_wire("ip", &["address", "add", address, "dev", link])?;
            nic::on_wire("ip", &["link", "set", link, "up"])?;
        }
        Ok(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for link in ["uplink", "br1"] {
            if let Err(error) = run(&format!("ip link delete {link}")) {
                log(&format!("{error:#}"));
            }
        }
    }
}

fn run(command: &str) -> Result<()> {
    let words: Vec<&str> = command.split(' ').collect();
    let (program, arguments) = words.split_first().context("a command")?;
    namespace::run(program, arguments)
}

/// Asks by ARP from one link of the far end.
fn asks(link: &str) -> Result<()> {
    nic::on_wire(
        "busybox",
        &["arping", "-c", "3", "-w", "5", "-f", "-I", link, GUEST],
    )
}

/// At L2, by its own hardware address, from its VLAN and from no other.
fn reached_in_its_vlan(mac: &str) -> Result<()> {
    asks("wire1.100")?;
    for link in ["wire1", "wire1.200"] {
        ensure!(asks(link).is_err(), "the guest answers on {link}");
    }
    nic::on_wire(
        "busybox",
        &["ping", "-c", "3", "-W", "5", "-I", "wire1.100", GUEST],
    )?;
    let shown = ["neighbor", "show", GUEST, "dev", "wire1.100"];
    let neighbor = nic::wire_output("ip", &shown)?;
    ensure!(neighbor.contains(mac), "`{neighbor}` instead of {mac}");
    Ok(())
}

fn in_a_pod() -> Result<()> {
    let _bridge = Bridge::make()?;
    let vmi = kernel::read(project().join("examples/bridge.yaml"))?;
    // `blue` by KubeVirt's name for it, from Multus and the bridge plugin; all else is the product's doing.
    let mut pod = Pod::new("blue")
        .options([
            "--network",
            "pod16477688c0e=br1,vlan=100",
            "--cap",
            "net_admin",
        ])
        .run_text(&vmi)?;
    pod.started.wait_for("guest: running", LONG)?;
    let mut console = pod.console()?;
    console.wait_for("demo: ready", LONG)?;
    ensure!(console.demo("address") == Some("10.0.2.2/24"));
    ensure!(console.demo("eth1-address") == Some("192.0.2.2/24"));
    let vhosts = kernel::open_files(pod.qemu()?)?;
    let vhosts = vhosts
        .iter()
        .filter(|file| *file == "/dev/vhost-net")
        .count();
    ensure!(vhosts == 4, "{vhosts} of vhost for two queues of two NICs");
    reached_in_its_vlan(console.demo("eth1-mac").context("the guest's second NIC")?)?;
    pod.signal(Signal::SIGTERM)?;
    pod.succeed(LONG)
}

/// What a local run makes by itself of `--network blue=br1,vlan=100`.
fn of_a_local_run() -> Result<()> {
    let _bridge = Bridge::make()?;
    let boot = guest::generic_boot_dir();
    let mut vm = Command::new(binary::beside("virt-launcher")?);
    vm.arg("run")
        .args(["--vmi", project().join("examples/bridge.yaml").as_str()])
        .args([
            "--kernel-boot-dir",
            boot.as_str(),
            "--network",
            "blue=br1,vlan=100",
        ])
        .stdin(Stdio::null());
    let mut vm = Started::start_shown(&mut vm, log)?;
    vm.wait_for("demo: ready", LONG)?;
    reached_in_its_vlan(vm.demo("eth1-mac").context("the guest's second NIC")?)?;
    vm.signal(Signal::SIGTERM)?;
    let status = vm.finish(LONG)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

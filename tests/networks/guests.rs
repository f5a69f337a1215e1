//! The guests, and the way from each to the host outside.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::namespace;
use tests::node::nic::{self, Bound};
use tests::node::pod::{Pod, Running};
use tests::node::{kernel, log};
use tests::process::Started;

/// The host outside, on the far end of the node's wire.
pub(crate) const OUTSIDE: &str = "192.0.2.1";
/// Where each guest takes orders.
pub(crate) const PORT: u16 = 5200;
/// Of every link.
const MTU: &str = "1500";
/// Beside others that run.
const BOOT: Duration = Duration::from_secs(400);

/// One igb as the uplink of the bridge `br1`, a VF of the other for passthrough; all of it untagged, on one wire.
pub(crate) struct Wire {
    vf: Bound,
    /// The host outside has iperf3's other half.
    _server: Started,
}

impl Wire {
    pub(crate) fn ready() -> Result<Self> {
        let vf = nic::bind(&nic::vf("pf0", 0)?, "vfio-pci")?;
        nic::set_vf("pf0", 0, "02:00:00:00:00:10", 0)?;
        for command in [
            "link add br1 type bridge",
            "link set pf1 master br1 up",
            "address add 192.0.2.254/24 dev br1",
            "link set br1 up",
        ] {
            namespace::run("ip", &command.split(' ').collect::<Vec<_>>())?;
        }
        nic::wire_address(0, &format!("{OUTSIDE}/24"))?;
        // To pods, whose node routes: as in a cluster without an overlay.
        nic::on_wire(
            "ip",
            &["route", "add", "10.244.0.0/24", "via", "192.0.2.254"],
        )?;
        nic::ping_from_wire("192.0.2.254")?;
        let mut server = std::process::Command::new("ip");
        server.args([
            "netns", "exec", "wire", "iperf3", "--server", "--bind", OUTSIDE,
        ]);
        Ok(Self {
            vf,
            _server: Started::start_shown(&mut server, log)?,
        })
    }
}

/// One guest that runs.
pub(crate) struct Guest {
    /// The seed's word for it, and what it is.
    pub(crate) name: &'static str,
    /// Where it takes orders.
    pub(crate) address: &'static str,
    pod: Running,
    /// Read all the time, so that its log shows what went wrong.
    console: Started,
}

impl Guest {
    pub(crate) fn end(mut self) -> Result<()> {
        self.pod.signal(Signal::SIGTERM)?;
        self.pod.succeed(BOOT)
    }
}

/// What sets one apart.
struct Kind {
    name: &'static str,
    /// Of its pod.
    short: &'static str,
    address: &'static str,
    interface: Value,
    options: Vec<String>,
    /// Descriptors of vhost that its QEMU has.
    vhost: usize,
    orders: &'static str,
}

/// All of them, one kind each.
pub(crate) fn start(wire: &Wire) -> Result<Vec<Guest>> {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let userspace = "--no-devices --device kvm --device net/tun --cap net_admin";
    let kinds = [
        Kind {
            name: "regular: masquerade",
            short: "masq",
            address: "10.244.0.10",
            interface: json!({"masquerade": {}}),
            // As large as the others': a packet's cost is what is compared.
            options: words(&format!("--address 10.244.0.10 --mtu {MTU} {userspace}")),
            vhost: 0,
            orders: "",
        },
        Kind {
            name: "faster: bridge",
            short: "bridge",
            address: "192.0.2.11",
            interface: json!({"bridge": {}}),
            options: words(&format!(
                "--address 10.244.0.11 --network {BLUE}=br1,address=192.0.2.11/24 {userspace}"
            )),
            vhost: 0,
            orders: "",
        },
        Kind {
            name: "faster: bridge, vhost, 2 queues",
            short: "vhost",
            address: "192.0.2.12",
            interface: json!({"bridge": {}}),
            options: words(&format!(
                "--address 10.244.0.12 --network {BLUE}=br1,address=192.0.2.12/24 --cap net_admin"
            )),
            vhost: 2,
            orders: "",
        },
        Kind {
            name: "really fast: SR-IOV",
            short: "sriov",
            address: "192.0.2.13",
            interface: json!({"sriov": {}}),
            options: words(&format!(
                "--address 10.244.0.13 --device vfio/{} --device vfio/vfio --env PCIDEVICE_EXAMPLE_COM_BLUE={} --memlock 1073741824",
                wire.vf.group, wire.vf.address
            )),
            vhost: 0,
            orders: " demo.vf-address=192.0.2.13/24",
        },
    ];
    // One after the other: four at once take longer than that on few real CPUs.
    kinds.into_iter().map(ready).collect()
}

/// `blue`, as KubeVirt names its link in the pod.
const BLUE: &str = "pod16477688c0e";

fn ready(kind: Kind) -> Result<Guest> {
    let mut pod = Pod::new(kind.short)
        .options(kind.options.iter().map(String::as_str))
        .run(&vmi(&kind))?;
    pod.started.wait_for("guest: running", BOOT)?;
    let files = kernel::open_files(pod.qemu()?)?;
    let vhost = files
        .iter()
        .filter(|file| *file == "/dev/vhost-net")
        .count();
    ensure!(vhost == kind.vhost, "{}: {vhost} of vhost", kind.name);
    let mut console = pod.console()?;
    console.wait_for("demo: ready", BOOT)?;
    // A VF's is its driver's usual one.
    let mtu = console.demo("link-mtu").unwrap_or(MTU);
    ensure!(mtu == MTU, "{}: an MTU of {mtu}", kind.name);
    nic::ping_from_wire(kind.address).context(kind.name)?;
    Ok(Guest {
        name: kind.name,
        address: kind.address,
        pod,
        console,
    })
}

/// Alike but for the network.
fn vmi(kind: &Kind) -> Value {
    let masquerade = kind.interface.get("masquerade").is_some();
    let mut interface = kind.interface.clone();
    interface["name"] = "net".into();
    let network = match masquerade {
        true => json!({"name": "net", "pod": {}}),
        false => json!({"name": "blue", "multus": {"networkName": "blue"}}),
    };
    interface["name"] = network["name"].clone();
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": kind.short, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "domain": {
                "cpu": {"cores": 2},
                "memory": {"guest": "256Mi"},
                "firmware": {"kernelBoot": {
                    "kernelArgs": format!(
                        "console=ttyS0 quiet no_timer_check demo.mode=serve demo.measure={PORT}{}",
                        kind.orders
                    ),
                    "container": {
                        "image": "quay.io/example/demo-guest:latest",
                        "kernelPath": "/boot/vmlinux",
                        "initrdPath": "/boot/initramfs.cpio",
                    },
                }},
                "devices": {
                    "networkInterfaceMultiqueue": kind.vhost > 0,
                    "interfaces": [interface],
                },
            },
            "networks": [network],
        },
    })
}

impl Guest {
    /// What it said last, for an error.
    pub(crate) fn said(&self) -> String {
        self.console
            .seen()
            .iter()
            .rev()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

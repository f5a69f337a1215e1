//! A VF whose driver stays on the host: its link is the pod's NIC of a network, and a bridge carries the guest over it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use camino::Utf8PathBuf;
use nix::sys::signal::Signal;
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, nic};
use tests::{namespace, project};

use super::third_vmi::{GUEST, SOON};
use super::told;

pub(crate) const CASES: &[Case] = &[Case {
    name: "vf-below-a-bridge",
    shape: &DEFAULT,
    run: bridged,
}];

const NUMBER: u32 = 2;
const MAC: &str = "02:00:00:00:00:22";
const VLAN: u16 = 122;
/// Of `blue`, the network of `examples/bridge.yaml`.
const LINK: &str = "pod16477688c0e";
const INSIDE: &str = "192.0.2.2";

fn bridged() -> Result<()> {
    nic::set_vf("pf0", NUMBER, MAC, VLAN)?;
    nic::wire_address(VLAN, "192.0.2.1/24")?;
    let vf = nic::bind(&nic::vf("pf0", NUMBER)?, "igbvf")?;
    let physical = nic::pf("pf0")?;

    // As the SR-IOV CNI leaves it unless told otherwise.
    let mut pod = start("untrusted", &link_of(&vf.address)?)?;
    let code = pod.code(SOON)?;
    let refused = told::lines(&pod, &["bridged it carries", "does not let it have"]);
    ensure!(code == 4, "exit code {code}: {refused}");
    drop(pod);

    let number = NUMBER.to_string();
    let set = |trust: &str, check: &str| {
        let settings = ["trust", trust, "spoofchk", check];
        let arguments = [&["link", "set", "pf0", "vf", &number], &settings[..]].concat();
        namespace::run("ip", &arguments)
    };
    set("on", "off")?;
    let mut pod = start("trusted", &link_of(&vf.address)?)?;
    pod.started.wait_for("guest: running", GUEST)?;
    let mut console = pod.console()?;
    console.wait_for("demo: ready", GUEST)?;
    ensure!(
        console.demo("eth1-mac") == Some(MAC),
        "the guest has {:?}",
        console.demo("eth1-mac")
    );
    nic::ping_from_wire(INSIDE)?;
    let neighbor = nic::seen_on_wire(VLAN, INSIDE)?;
    ensure!(neighbor.contains(MAC), "`{neighbor}` instead of {MAC}");
    pod.signal(Signal::SIGTERM)?;
    pod.succeed(GUEST)?;
    drop(pod);
    link_of(&vf.address)?;
    set("off", "on")?;
    drop(vf);
    nic::set_vf("pf0", NUMBER, "00:00:00:00:00:00", 0)?;
    nic::clear_wire()?;
    told::snapshot("vf-below-a-bridge", &refused, &[(&physical, "PF-ADDRESS")]);
    Ok(())
}

fn start(name: &str, link: &str) -> Result<Running> {
    let vmi = kernel::read(project().join("examples/bridge.yaml"))?;
    let prepare = format!(
        "nsenter --net=/proc/1/ns/net ip link set {link} netns pod-{name} name {LINK} && ip link set {LINK} up"
    );
    Pod::new(name)
        .options(["--prepare", &prepare, "--cap", "net_admin"])
        .run_text(&vmi)
}

/// The VF's link on the node: it returns a while after the pod's network namespace has gone.
fn link_of(address: &str) -> Result<String> {
    let directory = Utf8PathBuf::from(format!("/sys/bus/pci/devices/{address}/net"));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(entry) = directory.read_dir_utf8()?.next() {
            return Ok(entry?.file_name().to_owned());
        }
        ensure!(Instant::now() < deadline, "{address} has no link here");
        std::thread::sleep(Duration::from_millis(50));
    }
}

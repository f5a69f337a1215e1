//! The main job: the guest boots, has its network from our DHCP server, reaches out and is reached.

use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::{Context, Result};
use serde_json::json;
use tests::run::{BOOT, Launch, SOON, ask, be_reached, vmi};
use tests::world::{NAMESERVER, OUTSIDE, World};
use tests::{guest, namespace, project};

/// Where nothing in the guest listens.
const OTHER_PORT: u16 = 9090;

#[test]
fn the_example_as_yaml_shows_its_network_and_powers_off() -> Result<()> {
    let world = World::enter()?;
    let server = TcpListener::bind((OUTSIDE, 8080))?;
    let example = project().join("examples/masquerade.yaml");
    let mut run = Launch::plain().args(&["--vmi", example.as_str()]).start()?;
    let pod = be_reached(&server, "a-word")?;
    run.ready()?;
    assert_eq!(run.address()?, pod, "NAT shows the pod's address");
    for (key, value) in [
        ("address", "10.0.2.2/24"),
        ("gateway", "10.0.2.1"),
        ("dhcp-server", "10.0.2.1"),
        ("mtu", "1500"),
        ("link-mtu", "1500"),
        ("dns", NAMESERVER),
        ("search", "first.example second.example"),
        ("hostname", "masquerade"),
        ("kernel-hostname", "masquerade"),
        ("routes", "0.0.0.0/0 10.0.2.1"),
        // KubeVirt's 999 days.
        ("lease", "86313600"),
        ("disk", "vda 2097152 sectors written and read"),
        ("outside", "a-word"),
    ] {
        assert_eq!(run.demo(key), Some(value), "{key}: {:#?}", run.seen());
    }
    let all = run.seen().join("\n");
    for route in ["default via 10.0.2.1 dev eth0", "10.0.2.0/24 dev eth0"] {
        assert!(all.contains(&format!("demo: route={route}")), "{all}");
    }
    // Every port is the guest's: of one on which it does not listen, its own refusal comes back, although
    // somebody listens there in the pod.
    let network = run.pod()?.network()?;
    let in_pod = namespace::inside(&network, || Ok(TcpListener::bind(("0.0.0.0", OTHER_PORT))?))?;
    let refused = ask(pod, OTHER_PORT, "hello").expect_err("the guest refuses it");
    let refused = refused.downcast::<std::io::Error>()?;
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(in_pod);
    // Last, for it ends the guest.
    assert_eq!(
        ask(pod, 8080, "b-word")?,
        "demo-guest masquerade b-word a-word"
    );
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn only_listed_ports_are_forwarded_in_a_v1alpha3_vmi_from_stdin() -> Result<()> {
    let world = World::enter()?;
    let mut vmi = vmi(&[("mode", "serve"), ("port", "7070")]);
    vmi["apiVersion"] = "kubevirt.io/v1alpha3".into();
    let interface = &mut vmi["spec"]["domain"]["devices"]["interfaces"][0];
    interface["ports"] = json!([{"name": "demo", "protocol": "TCP", "port": 7070}]);
    let mut run = Launch::of(&vmi).start()?;
    run.ready()?;
    let pod = run.address()?;
    assert_eq!(ask(pod, 7070, "a-word")?, "demo-guest masquerade a-word");
    let refused = ask(pod, OTHER_PORT, "hello").expect_err("nobody is there");
    let refused = refused.downcast::<std::io::Error>()?;
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // Any other port is the pod's own.
    let network = run.pod()?.network()?;
    let in_pod = namespace::inside(&network, || Ok(TcpListener::bind(("0.0.0.0", OTHER_PORT))?))?;
    let answers = std::thread::spawn(move || be_reached(&in_pod, "from the pod"));
    assert_eq!(ask(pod, OTHER_PORT, "demo-guest?")?, "from the pod");
    answers
        .join()
        .ok()
        .context("the pod's listener answers")??;
    run.signal(nix::sys::signal::Signal::SIGTERM)?;
    run.wait_for("demo: power-button=pressed", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    world.is_clean(SOON)
}

#[test]
fn a_vmi_in_the_environment_runs() -> Result<()> {
    let world = World::enter()?;
    let vmi = vmi(&[("poweroff-after-check", "true")]);
    let mut run = Launch::plain()
        .env("STANDALONE_VMI", &vmi.to_string())
        .start()?;
    run.wait_for("demo: poweroff", BOOT)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    assert!(guest::kernel_boot_dir().exists());
    world.is_clean(SOON)
}

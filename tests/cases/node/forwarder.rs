//! The shape of a packet processor: pages of 1Gi, pinned vCPUs, an emulator apart, a VF whose node the guest sees, and in it
//! DPDK's own driver of the VF in poll mode, without an interrupt, over huge pages of the guest's own.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tests::guest;
use tests::node::shape::DEFAULT;
use tests::node::{Case, log, nic};

use super::sriov::is_placed;
use super::third_vmi::{self, GUEST, Vf, vmi};

pub(crate) const CASES: &[Case] = &[Case {
    name: "forwarder-in-poll-mode",
    shape: &DEFAULT,
    run: forwards,
}];

/// Frames that are sent one after the other and have to come back.
const FRAMES: u32 = 300;
const POLLS: &str = "Press enter to exit";

fn forwards() -> Result<()> {
    let vf = Vf::ready(0)?;
    let isolated = "      isolateEmulatorThread: true\n";
    let text = vmi(&[
        ("memory: 4Gi", "memory: 2Gi"),
        ("demo.vf-address=192.0.2.2/24", "demo.forward=true"),
        (
            isolated,
            &format!("{isolated}      numa: {{guestMappingPassthrough: {{}}}}\n"),
        ),
    ])?;
    let options = vf.options();
    let mut pod = third_vmi::pod("forwarder", "4-7", "1", 2)
        .options(options.iter().map(String::as_str))
        .boot(guest::testpmd_boot_dir())
        .run_text(&text)?;
    pod.started.wait_for("guest: running", GUEST)?;
    let mut console = pod.console()?;
    console.wait_for("demo: ready", GUEST)?;
    // What testpmd says last before it polls, which may have been before.
    if !console.seen().iter().any(|line| line.contains(POLLS)) {
        console.wait_for(POLLS, GUEST)?;
    }
    let demo = |key| console.demo(key).unwrap_or_default();
    ensure!(
        demo("vf") == format!("eth0 {} node 0", vf.mac),
        "the guest sees its VF as `{}`",
        demo("vf")
    );
    ensure!(
        demo("forward-pages") == "64 on node 0",
        "{}",
        demo("forward-pages")
    );
    let taken = demo("forward-pages-taken").to_owned();
    ensure!(!taken.starts_with("0 "), "no page is in use: {taken}");
    ensure!(
        demo("forward-driver") == "uio_pci_generic",
        "`{}` has the VF in the guest",
        demo("forward-driver")
    );
    is_placed(&pod, 3, 2, true)?;

    // The guest's kernel has no address: who answers is testpmd.
    let count = FRAMES.to_string();
    let said = nic::wire_output(
        "busybox",
        &["ping", "-c", &count, "-A", "-q", "-W", "10", &vf.inside()],
    )?;
    log(&said);
    let returned = said
        .split(" packets received")
        .next()
        .and_then(|said| said.rsplit(' ').next())
        .context("ping counts")?;
    ensure!(returned == count, "{returned} of {count} came back");
    let neighbor = nic::seen_on_wire(vf.vlan(), &vf.inside())?;
    ensure!(
        neighbor.contains(&vf.mac),
        "`{neighbor}` instead of {}",
        vf.mac
    );

    pod.signal(Signal::SIGTERM)?;
    pod.succeed(GUEST)?;
    third_vmi::free_pages(third_vmi::FREE)?;
    vf.give_back()?;
    nic::clear_wire()
}

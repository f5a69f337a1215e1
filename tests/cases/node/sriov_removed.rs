//! VFs that the host takes back under running guests: by an unbind, and by removing all VFs of the physical function.

use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::node::pod::Running;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

use super::third_vmi::{self, GUEST, Vf};
use super::told;

pub(crate) const CASES: &[Case] = &[Case {
    name: "sriov-removed-under-guests",
    shape: &DEFAULT,
    run: removed,
}];

fn removed() -> Result<()> {
    let (vf, other) = (Vf::ready(0)?, Vf::ready(1)?);
    let (address, other_address) = (vf.bound.address.clone(), other.bound.address.clone());
    let server = third_vmi::serve(&vf)?;
    let mut first = start(&vf, "first", "4-5", "10.244.0.10")?;
    let mut second = start(&other, "second", "6-7", "10.244.0.11")?;
    let console = third_vmi::guest_reached_out(&mut first, &vf)?;
    second.started.wait_for("guest: running", GUEST)?;
    second.console()?.wait_for("demo: ready", GUEST)?;

    let host = write(
        "/sys/bus/pci/drivers/vfio-pci/unbind".to_owned(),
        address.clone(),
    );
    first.started.wait_for("device-gone", GUEST)?;
    done(host)?;
    ensure!(state(&first)? == "gone", "{:?}", state(&first));
    // Another's already, while the guest that had it runs on.
    let again = nic::bind(&address, "igbvf")?;
    drop(again);

    // One that does not run cannot let go, and says so for as long.
    let (code, _) = second.exec(&["ctl", "pause"])?;
    ensure!(code == Some(0), "exit code {code:?}");
    let pf = "/sys/class/net/pf0/device/sriov_numvfs";
    let host = write(pf.to_owned(), "0".to_owned());
    second.started.wait_for("device-wanted-back", GUEST)?;
    ensure!(state(&second)? == "wanted-back", "{:?}", state(&second));
    ensure!(!host.is_finished(), "the host did not wait");
    let (code, _) = second.exec(&["ctl", "unpause"])?;
    ensure!(code == Some(0), "exit code {code:?}");
    second.started.wait_for("device-gone", GUEST)?;
    done(host)?;
    ensure!(nic::driver(&other_address)?.is_none(), "still there");

    let mut said = Vec::new();
    for pod in [&mut first, &mut second] {
        pod.signal(Signal::SIGTERM)?;
        pod.succeed(GUEST)?;
        said.push(told::events(pod, "device-"));
    }
    drop((server, console));
    kernel::write(pf, "4")?;
    third_vmi::free_pages(third_vmi::FREE)?;
    nic::clear_wire()?;
    told::snapshot(
        "removed",
        &said.join("--\n"),
        &[(&address, "VF-0"), (&other_address, "VF-1")],
    );
    Ok(())
}

fn start(vf: &Vf, name: &str, cpus: &str, address: &str) -> Result<Running> {
    let options = vf.options();
    third_vmi::pod(name, cpus, "1", 1)
        .options(["--address", address])
        .options(options.iter().map(String::as_str))
        .arguments(["--log-format", "json"])
        .run_text(&third_vmi::small(vf, "")?)
}

/// What a writer to sysfs does until the kernel has done it.
fn write(path: String, value: String) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        kernel::write(&path, &value)?;
        log(&format!("`{value}` is written to {path}"));
        Ok(())
    })
}

fn done(writer: JoinHandle<Result<()>>) -> Result<()> {
    match writer.join() {
        Ok(result) => result,
        Err(_) => bail!("the writer panicked"),
    }
}

/// Of the VM's only device of the host.
fn state(pod: &Running) -> Result<String> {
    let (_, status) = pod.exec(&["ctl", "status"])?;
    let status: Value = serde_json::from_str(&status)?;
    let state = status["hostDevices"][0]["state"].as_str();
    Ok(state.with_context(|| format!("{status:#}"))?.to_owned())
}

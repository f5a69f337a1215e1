//! VFs that the host takes back under running guests: by an unbind, and by removing all VFs of the physical function.

use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::namespace;
use tests::node::pod::Running;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

use super::third_vmi::{self, GUEST, Vf};
use super::told;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "sriov-removed-under-guests",
        shape: &DEFAULT,
        run: removed,
    },
    Case {
        name: "sriov-removed-with-its-physical-function",
        shape: &DEFAULT,
        run: without_physical_function,
    },
];

const NUMVFS: &str = "/sys/class/net/pf0/device/sriov_numvfs";

fn removed() -> Result<()> {
    let (vf, other) = (Vf::ready(0)?, Vf::ready(1)?);
    let (address, other_address) = (vf.bound.address.clone(), other.bound.address.clone());
    let server = third_vmi::serve(&vf)?;
    let mut first = start(&vf, "first", ("4-5", "1"), "10.244.0.10")?;
    let mut second = start(&other, "second", ("6-7", "1"), "10.244.0.11")?;
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
    let host = write(NUMVFS.to_owned(), "0".to_owned());
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
    kernel::write(NUMVFS, "4")?;
    third_vmi::free_pages(third_vmi::FREE)?;
    nic::clear_wire()?;
    told::snapshot(
        "removed",
        &said.join("--\n"),
        &[(&address, "VF-0"), (&other_address, "VF-1")],
    );
    Ok(())
}

/// The driver of the physical function is taken away, and its VFs go with it. A VF has no `remove` of its own in sysfs
/// (`pci_dev_hp_attrs_are_visible`).
fn without_physical_function() -> Result<()> {
    let vf = Vf::on_node_0()?;
    let address = vf.bound.address.clone();
    let file = format!("/sys/bus/pci/devices/{address}/remove");
    ensure!(!Utf8Path::new(&file).exists(), "there is {file}");
    let pf = nic::pf("pf1")?;
    let mut pod = start(&vf, "orphan", ("0-1", "0"), "10.244.0.10")?;
    pod.started.wait_for("guest: running", GUEST)?;
    pod.console()?.wait_for("demo: ready", GUEST)?;
    let driver = "/sys/bus/pci/drivers/igb";
    done(write(format!("{driver}/unbind"), pf.clone()))?;
    pod.started.wait_for("device-gone", GUEST)?;
    ensure!(state(&pod)? == "gone", "{:?}", state(&pod));
    ensure!(nic::driver(&address)?.is_none(), "still there");
    pod.signal(Signal::SIGTERM)?;
    pod.succeed(GUEST)?;
    let said = told::events(&pod, "device-");

    // As the node's boot leaves it.
    kernel::write(format!("{driver}/bind"), &pf)?;
    let mut links = Utf8PathBuf::from(format!("/sys/bus/pci/devices/{pf}/net")).read_dir_utf8()?;
    let link = links.next().context("igb makes a link")??;
    let link = link.file_name();
    namespace::run("ip", &["link", "set", link, "name", "pf1", "up"])?;
    kernel::write("/sys/class/net/pf1/device/sriov_numvfs", "1")?;
    nic::clear_wire()?;
    told::snapshot("without-physical-function", &said, &[(&address, "VF")]);
    Ok(())
}

fn start(vf: &Vf, name: &str, (cpus, mems): (&str, &str), address: &str) -> Result<Running> {
    let options = vf.options();
    third_vmi::pod(name, cpus, mems, 1)
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

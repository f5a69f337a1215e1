//! VFs as the SR-IOV operator, CNI and device plugin handle them, and what is on the other end of the wire.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use camino::Utf8PathBuf;

use super::kernel::{read, write};
use crate::namespace;
use crate::process::Started;

const DEVICES: &str = "/sys/bus/pci/devices";

/// The address of VF `number` of `pf0`, `pf1`, ...
pub fn vf(pf: &str, number: u32) -> Result<String> {
    let link = Utf8PathBuf::from(format!("/sys/class/net/{pf}/device/virtfn{number}"));
    let target = link
        .read_link_utf8()
        .with_context(|| format!("no VF {number} on {pf}"))?;
    Ok(target
        .file_name()
        .context("a device has a name")?
        .to_owned())
}

/// The address of a PF.
pub fn pf(pf: &str) -> Result<String> {
    let target = Utf8PathBuf::from(format!("/sys/class/net/{pf}/device")).canonicalize_utf8()?;
    Ok(target
        .file_name()
        .context("a device has a name")?
        .to_owned())
}

/// Every VF's address, NIC by NIC.
pub fn all_vfs() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for pf in ["pf0", "pf1", "pf2", "pf3"] {
        let mut number = 0;
        while let Ok(address) = vf(pf, number) {
            found.push(address);
            number += 1;
        }
    }
    Ok(found)
}

/// The driver that has a device.
pub fn driver(address: &str) -> Result<Option<String>> {
    let link = Utf8PathBuf::from(format!("{DEVICES}/{address}/driver"));
    Ok(link
        .read_link_utf8()
        .ok()
        .and_then(|target| target.file_name().map(str::to_owned)))
}

/// A device's IOMMU group; `/dev/vfio/GROUP` is what a pod gets when it is bound to `vfio-pci`.
pub fn group(address: &str) -> Result<String> {
    let link = Utf8PathBuf::from(format!("{DEVICES}/{address}/iommu_group"));
    let target = link
        .read_link_utf8()
        .with_context(|| format!("{address} has no IOMMU group"))?;
    Ok(target
        .file_name()
        .context("a group has a number")?
        .to_owned())
}

/// A device's file below `/dev/vfio/devices`, for iommufd, while vfio has it.
pub fn cdev(address: &str) -> Result<String> {
    let directory = Utf8PathBuf::from(format!("{DEVICES}/{address}/vfio-dev"));
    let mut entries = directory.read_dir_utf8().context("vfio has it")?;
    let entry = entries.next().context("vfio names it")??;
    Ok(entry.file_name().to_owned())
}

/// The NUMA node that a device says it is on.
pub fn numa_node(address: &str) -> Result<i32> {
    Ok(read(format!("{DEVICES}/{address}/numa_node"))?.parse()?)
}

/// A device held by a driver until this is dropped.
#[derive(Debug)]
pub struct Bound {
    /// Its address.
    pub address: String,
    /// Its group, for `--device vfio/GROUP`.
    pub group: String,
}

/// Gives a device to `vfio-pci`, `igbvf` or another driver that is loaded.
pub fn bind(address: &str, to: &str) -> Result<Bound> {
    release(address)?;
    let device = format!("{DEVICES}/{address}");
    write(format!("{device}/driver_override"), to)?;
    write("/sys/bus/pci/drivers_probe", address)?;
    match driver(address)? {
        Some(name) if name == to => Ok(Bound {
            address: address.to_owned(),
            group: group(address)?,
        }),
        other => bail!("{address} is bound to {other:?} instead of `{to}`"),
    }
}

/// Takes a device from its driver.
pub fn release(address: &str) -> Result<()> {
    if driver(address)?.is_some() {
        write(format!("{DEVICES}/{address}/driver/unbind"), address)?;
    }
    // An empty line takes the override back (Documentation/ABI/testing/sysfs-bus-pci).
    write(format!("{DEVICES}/{address}/driver_override"), "\n")
}

impl Drop for Bound {
    fn drop(&mut self) {
        // What cannot be taken back is seen by the runner, which compares drivers before and after.
        let _ = release(&self.address);
    }
}

/// MAC and VLAN of a VF, set through its PF; VLAN 0 is none. The guest sees the MAC and never the tag.
pub fn set_vf(pf: &str, number: u32, mac: &str, vlan: u16) -> Result<()> {
    let (number, vlan) = (number.to_string(), vlan.to_string());
    namespace::run(
        "ip",
        &["link", "set", pf, "vf", &number, "mac", mac, "vlan", &vlan],
    )
}

/// Puts an address on the far end of the wire, in a VLAN or, with 0, untagged: `wire_address(100, "192.0.2.1/24")`.
pub fn wire_address(vlan: u16, address: &str) -> Result<()> {
    let link = if vlan == 0 {
        "wire0".to_owned()
    } else {
        let (link, id) = (format!("wire0.{vlan}"), vlan.to_string());
        if on_wire("ip", &["link", "show", &link]).is_err() {
            on_wire(
                "ip",
                &[
                    "link", "add", "link", "wire0", "name", &link, "type", "vlan", "id", &id,
                ],
            )?;
        }
        link
    };
    on_wire("ip", &["address", "replace", address, "dev", &link])?;
    on_wire("ip", &["link", "set", &link, "up"])
}

/// Takes every VLAN and address off the far end.
pub fn clear_wire() -> Result<()> {
    on_wire(
        "ip",
        &["address", "flush", "dev", "wire0", "scope", "global"],
    )?;
    for link in wire_output("ls", &["/sys/class/net"])?
        .lines()
        .filter(|link| link.starts_with("wire0."))
    {
        on_wire("ip", &["link", "delete", link])?;
    }
    Ok(())
}

/// Pings from the far end.
pub fn ping_from_wire(address: &str) -> Result<()> {
    on_wire("busybox", &["ping", "-c", "3", "-W", "5", address])
}

/// A server at the far end of the wire that says `word` to whoever connects, until it is dropped.
pub fn serve_on_wire(port: u16, word: &str) -> Result<Started> {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", "wire", "busybox", "nc", "-ll", "-p"])
        .args([&port.to_string(), "-e", "/bin/echo", word]);
    Started::start_shown(command.stdin(Stdio::null()), super::log)
}

/// Connects from the far end of the wire to a demo guest, says `word` and returns the guest's answer.
pub fn reach_from_wire(address: &str, port: u16, word: &str) -> Result<String> {
    let script = format!("echo {word} | busybox nc -w 20 {address} {port}");
    wire_output("sh", &["-c", &script])
}

/// The MAC address that somebody in a VLAN of the wire answered with.
pub fn seen_on_wire(vlan: u16, address: &str) -> Result<String> {
    let link = format!("wire0.{vlan}");
    wire_output("ip", &["neighbor", "show", address, "dev", &link])
}

/// Runs a program at the far end of the wire.
pub fn on_wire(program: &str, args: &[&str]) -> Result<()> {
    wire_output(program, args).map(drop)
}

/// Runs a program at the far end of the wire, for its output.
pub fn wire_output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(["netns", "exec", "wire", program])
        .args(args)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "on the wire `{program} {}` failed: {said}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(said)
}

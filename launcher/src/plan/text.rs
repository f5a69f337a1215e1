//! A plan for people.

mod placement;

use std::fmt::{self, Write};

use crate::host::ImageFormat;
use crate::net::plan::{Bridged, Masquerade, NicPlan, Setup, Wiring};
use crate::plan::{LaunchPlan, Open};
use crate::storage::plan::{DiskImage, Layer, Make};

/// One option a line, then who runs where, links, images, and what the reader should know.
pub fn text(plan: &LaunchPlan) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, plan);
    out
}

fn write(out: &mut String, plan: &LaunchPlan) -> fmt::Result {
    writeln!(out, "{} ({})", plan.domain, plan.uid)?;
    heading(out, "qemu")?;
    argv(out, &plan.argv)?;
    heading(out, "files")?;
    for fd in &plan.fds {
        writeln!(out, "  {:>3}  {}", fd.number, open(&fd.open))?;
    }
    heading_if(out, "environment", !plan.environment.is_empty())?;
    for (name, value) in &plan.environment {
        writeln!(out, "  {name}={value}")?;
    }
    heading_if(out, "before the guest runs", !plan.before_cont.is_empty())?;
    for step in &plan.before_cont {
        writeln!(out, "  {} {}", step.execute, step.arguments)?;
    }
    heading(out, "placement")?;
    placement::write(out, &plan.placement)?;
    heading_if(out, "network", !plan.network.nics.is_empty())?;
    for nic in &plan.network.nics {
        network(out, nic)?;
    }
    if let Some(address) = plan.lifecycle.metrics {
        writeln!(out, "  metrics at http://{address}/metrics")?;
    }
    heading(out, "storage")?;
    for make in &plan.storage.make {
        making(out, make)?;
    }
    for disk in &plan.storage.disks {
        image(out, disk)?;
    }
    heading_if(out, "notices", !plan.notices.is_empty())?;
    for notice in &plan.notices {
        writeln!(out, "  {}: {}", notice.path, notice.message)?;
    }
    Ok(())
}

fn heading(out: &mut String, name: &str) -> fmt::Result {
    writeln!(out, "\n{name}:")
}

fn heading_if(out: &mut String, name: &str, any: bool) -> fmt::Result {
    if any { heading(out, name) } else { Ok(()) }
}

/// An option and its value share a line; no value that we write starts with a dash but `-append`'s may.
fn argv(out: &mut String, argv: &[String]) -> fmt::Result {
    let mut words = argv.iter().peekable();
    while let Some(word) = words.next() {
        write!(out, "  {word}")?;
        let flag = matches!(word.as_str(), "-S" | "-nodefaults" | "-no-user-config");
        if word.starts_with('-')
            && !flag
            && let Some(value) = words.next()
        {
            write!(out, " {value}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn open(open: &Open) -> String {
    match open {
        Open::Listener { path } => format!("listens on {path}"),
        Open::Log { path } => format!("appends to {path}"),
        Open::Tap { tap, queue } => format!("{tap}, queue {queue}"),
        Open::VhostNet { tap, queue } => format!("/dev/vhost-net for {tap}, queue {queue}"),
        Open::Iommufd => "an iommufd".to_owned(),
        Open::VfioDevice { cdev } => format!("vfio's device {cdev}"),
    }
}

fn network(out: &mut String, nic: &NicPlan) -> fmt::Result {
    writeln!(
        out,
        "  {}: {} -> {} -> {} -> {}, mtu {}",
        nic.name, nic.pod_link, nic.bridge.name, nic.tap.name, nic.guest_mac, nic.mtu
    )?;
    match nic.setup {
        Setup::Made => writeln!(out, "    made by us")?,
        Setup::Found => writeln!(out, "    found as virt-handler has made it")?,
    }
    match &nic.wiring {
        Wiring::Masquerade(nat) => masquerade(out, nat)?,
        Wiring::Bridged(bridged) => bridge(out, nic, bridged)?,
    }
    if let Some(dhcp) = &nic.dhcp {
        writeln!(
            out,
            "    dhcp on {}: {} as {}",
            dhcp.link, dhcp.address, dhcp.hostname
        )?;
    }
    if let Some(ipv6) = &nic.ipv6 {
        let router = if ipv6.advertised {
            "router advertised"
        } else {
            "router not advertised"
        };
        writeln!(
            out,
            "    dhcpv6 on {}: {}, {router}",
            ipv6.link, ipv6.address
        )?;
    }
    Ok(())
}

fn masquerade(out: &mut String, nat: &Masquerade) -> fmt::Result {
    let families = [
        nat.guest.map(|address| address.to_string()),
        nat.guest6.map(|address| address.to_string()),
    ];
    for address in families.into_iter().flatten() {
        writeln!(out, "    guest {address}, masqueraded")?;
    }
    if nat.istio.is_some() {
        writeln!(out, "    Istio's proxy gets connections first")?;
    }
    if nat.ports.is_empty() {
        writeln!(out, "    every port is forwarded")?;
    }
    for port in &nat.ports {
        write!(out, "    port {}", port.port)?;
        if port.last != port.port {
            write!(out, " to {}", port.last)?;
        }
        writeln!(out, "/{} is forwarded", port.protocol.name())?;
    }
    Ok(())
}

fn bridge(out: &mut String, nic: &NicPlan, bridged: &Bridged) -> fmt::Result {
    write!(out, "    {} is {} on the bridge", nic.pod_link, bridged.nic)?;
    if bridged.addresses.is_empty() {
        return writeln!(out);
    }
    let kept: Vec<String> = bridged.addresses.iter().map(ToString::to_string).collect();
    writeln!(out, "; a stand-in keeps {}", kept.join(", "))
}

fn making(out: &mut String, make: &Make) -> fmt::Result {
    match make {
        Make::Overlay { path, backing, .. } => writeln!(out, "  make {path}: overlay of {backing}"),
        Make::EmptyQcow2 { path, size } => writeln!(out, "  make {path}: empty qcow2, {size}"),
        Make::SparseRaw { path, size } => writeln!(out, "  make {path}: sparse file, {size}"),
        Make::NoCloudIso { path, .. } => writeln!(out, "  make {path}: cloud-init seed"),
    }
}

fn image(out: &mut String, disk: &DiskImage) -> fmt::Result {
    let layer = |layer: &Layer| {
        let format = match layer.format {
            ImageFormat::Raw => "raw",
            ImageFormat::Qcow2 => "qcow2",
        };
        format!("{} ({format})", layer.path)
    };
    let chain: Vec<_> = disk.top.iter().chain(&disk.backing).map(layer).collect();
    if chain.is_empty() {
        writeln!(out, "  {}: empty drive", disk.name)
    } else {
        writeln!(out, "  {}: {}", disk.name, chain.join(" over "))
    }
}

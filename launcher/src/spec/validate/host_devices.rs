//! Host devices: interfaces with `sriov`, GPUs, and devices of other plugins.

use std::collections::{BTreeMap, BTreeSet};

use super::given;
use super::networks::{Behind, Source};
use super::unique::Taken;
use crate::machine::pci::PciAddress;
use crate::spec::host_device::{ANNOTATION, HostDevice, Kind};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{Interface, Metadata, PluginDevice, Vmi};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// What the annotation says, by interface.
pub(super) fn told(metadata: &Metadata, out: &mut Findings) -> BTreeMap<String, PciAddress> {
    let mut devices = BTreeMap::new();
    let text = metadata
        .annotations
        .get(ANNOTATION)
        .map_or("", String::as_str);
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let parsed = pair
            .split_once('=')
            .and_then(|(name, address)| Some((name.trim(), address.trim().parse().ok()?)));
        match parsed {
            Some((name, address)) => {
                devices.insert(name.to_owned(), address);
            }
            None => out.refuse(
                &Path::of("metadata.annotations").key(ANNOTATION),
                format!("`{}` is not `INTERFACE=PCI-ADDRESS`", shortened(pair)),
                "write it as `fast=0000:82:02.1`, several with commas between",
            ),
        }
    }
    devices
}

/// An interface whose binding is `sriov`.
pub(super) fn sriov(
    written: &Interface,
    name: &str,
    network: &Behind,
    path: &Path,
    told: &BTreeMap<String, PciAddress>,
    taken: &mut Taken,
    out: &mut Findings,
) -> Option<HostDevice> {
    if written.masquerade.is_some() || written.bridge.is_some() {
        out.refuse(
            path,
            "it has two bindings, `sriov` and another",
            "keep one of the two",
        );
    }
    for (field, is_there) in [
        ("model", given(&written.model).is_some()),
        ("ports", !written.ports.is_empty()),
        ("portRanges", !written.port_ranges.is_empty()),
        ("dhcpOptions", written.dhcp_options != Default::default()),
        (
            "acpiIndex",
            written.acpi_index.is_some_and(|index| index != 0),
        ),
    ] {
        if is_there {
            out.notice(
                &path.key(field),
                "the VF is the guest's own: this changes nothing",
            );
        }
    }
    if given(&written.state) == Some("down") {
        out.refuse(
            &path.key("state"),
            "the link of a VF is its physical function's",
            "remove it, or set the VF's link state by its NetworkAttachmentDefinition",
        );
    }
    let definition = match network.source.as_ref()? {
        Source::Multus { definition, .. } => definition.clone(),
        Source::Pod(..) | Source::MultusDefault => {
            out.refuse(
                &path.key("sriov"),
                format!(
                    "`{}` is the pod's own network, which has no VF",
                    network.path
                ),
                "use `multus: {networkName: ...}` with a network of the SR-IOV CNI",
            );
            return None;
        }
    };
    Some(HostDevice {
        name: name.to_owned(),
        path: path.to_string(),
        kind: Kind::Sriov {
            network: definition,
        },
        boot_order: taken.boot_order(written.boot_order, &path.key("bootOrder"), out),
        pci_address: taken.pci_address(&written.pci_address, &path.key("pciAddress"), out),
        told: told.get(name).copied(),
    })
}

/// `gpus`, then `hostDevices`.
pub(super) fn plugin_devices(vmi: &Vmi, out: &mut Findings) -> Vec<HostDevice> {
    let devices = &vmi.spec.domain.devices;
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for (list, written, is_gpu) in [
        ("gpus", &devices.gpus, true),
        ("hostDevices", &devices.host_devices, false),
    ] {
        let list = Path::of("spec.domain.devices").key(list);
        for (index, device) in written.iter().enumerate() {
            all.extend(one(device, &list.index(index), is_gpu, &mut names, out));
        }
    }
    all
}

fn one(
    written: &PluginDevice,
    path: &Path,
    is_gpu: bool,
    names: &mut BTreeSet<String>,
    out: &mut Findings,
) -> Option<HostDevice> {
    let name = given(&written.name).map(str::to_owned);
    match &name {
        None => out.refuse(&path.key("name"), "it is missing", "give the device a name"),
        Some(name) if !names.insert(name.clone()) => out.refuse(
            &path.key("name"),
            format!("`{}` is there twice", shortened(name)),
            "give each device its own",
        ),
        Some(_) => {}
    }
    let resource = given(&written.device_name).map(str::to_owned);
    if resource.is_none() {
        out.refuse(
            &path.key("deviceName"),
            "it is missing",
            "name the device plugin's resource, such as `nvidia.com/GA102GL_A10`",
        );
    }
    let resource = resource?;
    Some(HostDevice {
        name: name?,
        path: path.to_string(),
        kind: if is_gpu {
            Kind::Gpu { resource }
        } else {
            Kind::HostDevice { resource }
        },
        boot_order: None,
        pci_address: None,
        told: None,
    })
}

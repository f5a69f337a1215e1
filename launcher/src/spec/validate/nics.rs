//! Interfaces, each joined with its network.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::bindings::{binding, has_ports};
use super::dhcp::dhcp_options;
use super::host_devices;
use super::networks::{Behind, Source, networks};
use super::nic_status::{self, MOST_QUEUES};
use super::text::printable;
use super::unique::Taken;
use super::{choose, given};
use crate::net::mac::MacAddr;
use crate::spec::host_device::HostDevice;
use crate::spec::nic::{Binding, DhcpOptions, Network, Nic, NicModel};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{Interface, Vmi};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// QEMU's ACPI_INDEX_MAX: 14 bits.
const MOST_ACPI_INDEX: i64 = 16383;

/// A tag is a label that people wrote.
const MOST_TAG_BYTES: usize = 255;

const MODELS: [(&str, NicModel); 7] = [
    ("virtio", NicModel::Virtio),
    ("e1000", NicModel::E1000),
    ("e1000e", NicModel::E1000e),
    ("igb", NicModel::Igb),
    ("rtl8139", NicModel::Rtl8139),
    ("ne2k_pci", NicModel::Ne2kPci),
    ("pcnet", NicModel::Pcnet),
];

#[derive(Clone, Copy, PartialEq)]
enum State {
    Up,
    Down,
    Absent,
}

const STATES: [(&str, State); 3] = [
    ("up", State::Up),
    ("down", State::Down),
    ("absent", State::Absent),
];

/// What one interface may not share with another, and what all of them know.
struct Shared<'a> {
    taken: &'a mut Taken,
    macs: BTreeMap<MacAddr, Path>,
    acpi: BTreeMap<u32, Path>,
    queues: u16,
}

/// NICs behind the pod's links, and those that are VFs.
pub(super) fn nics(
    vmi: &Vmi,
    vcpus: u32,
    taken: &mut Taken,
    out: &mut Findings,
) -> (Vec<Nic>, Vec<HostDevice>) {
    let list = Path::of("spec.domain.devices.interfaces");
    let written = &vmi.spec.domain.devices.interfaces;
    let mut shared = Shared {
        taken,
        macs: BTreeMap::new(),
        acpi: BTreeMap::new(),
        queues: queues(vmi, vcpus),
    };
    if written.is_empty() && vmi.spec.networks.is_empty() {
        return (
            default_nic(vmi, shared.queues, out).into_iter().collect(),
            Vec::new(),
        );
    }
    let mut networks = networks(&vmi.spec.networks, out);
    let mut names = HashSet::new();
    let told = host_devices::told(&vmi.metadata, out);
    let (mut nics, mut vfs) = (Vec::new(), Vec::new());
    for (index, interface) in written.iter().enumerate() {
        let path = list.index(index);
        let name = given(&interface.name).unwrap_or_default();
        if !interface_name(name, names.insert(name), &path.key("name"), out) {
            continue;
        }
        let Some(network) = networks.remove(name) else {
            out.refuse(
                &path.key("name"),
                format!("no network has the name `{name}`"),
                "add it to `spec.networks`, or remove the interface",
            );
            continue;
        };
        if interface.sriov.is_some() {
            let state = given(&interface.state);
            if state != Some("absent") {
                vfs.extend(host_devices::sriov(
                    interface,
                    name,
                    &network,
                    &path,
                    &told,
                    shared.taken,
                    out,
                ));
            }
            // The CNI sets it on the VF; what matters here is that nobody else has it.
            let _checked = mac(interface, &path.key("macAddress"), &mut shared, out);
            continue;
        }
        nics.extend(one(interface, name, &network, path, vmi, &mut shared, out));
    }
    if written
        .iter()
        .all(|interface| given(&interface.name).is_some())
    {
        without_interface(&networks, out);
    }
    (nics, vfs)
}

fn queues(vmi: &Vmi, vcpus: u32) -> u16 {
    match vmi.spec.domain.devices.network_interface_multiqueue {
        Some(true) => u16::try_from(vcpus.min(MOST_QUEUES)).unwrap_or(1),
        _ => 1,
    }
}

/// KubeVirt's webhook attaches the pod's network where none is named.
fn default_nic(vmi: &Vmi, queues: u16, out: &mut Findings) -> Option<Nic> {
    if vmi.spec.domain.devices.autoattach_pod_interface == Some(false) {
        return None;
    }
    let path = Path::of("spec.domain.devices.interfaces");
    if out.refused_within(&path) || out.refused_within(&Path::of("spec.networks")) {
        return None;
    }
    out.notice(
        &path,
        "the VMI names no network: it gets the pod's by bridge, as KubeVirt's webhook would write it",
    );
    Some(Nic {
        name: "default".to_owned(),
        path: path.to_string(),
        network: Network::Primary {
            pod_link: nic_status::pod_link("default", vmi, out),
        },
        binding: Binding::Bridge,
        model: NicModel::default(),
        mac: nic_status::mac("default", vmi, out),
        queues: nic_status::queues("default", vmi).unwrap_or(queues),
        boot_order: None,
        pci_address: None,
        acpi_index: None,
        link_down: false,
        dhcp_options: DhcpOptions::default(),
    })
}

/// Whether the name can be looked up.
fn interface_name(name: &str, is_new: bool, at: &Path, out: &mut Findings) -> bool {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if name.is_empty() {
        out.refuse(
            at,
            "it is missing",
            "give the interface the name of its network",
        );
    } else if !plain || name.len() > 63 {
        out.refuse(
            at,
            format!("`{}` is not a name for an interface", shortened(name)),
            "use up to 63 letters, digits, `-` and `_`",
        );
    } else if !is_new {
        out.refuse(
            at,
            format!("`{name}` is there twice"),
            "a network has one interface",
        );
    } else {
        return true;
    }
    false
}

fn without_interface(networks: &HashMap<String, Behind>, out: &mut Findings) {
    for (name, network) in networks {
        if network.source.is_some() {
            out.refuse(
                &network.path.key("name"),
                format!("no interface has the name `{}`", shortened(name)),
                "add it to `spec.domain.devices.interfaces`, or remove the network",
            );
        }
    }
}

fn one(
    written: &Interface,
    name: &str,
    network: &Behind,
    path: Path,
    vmi: &Vmi,
    shared: &mut Shared<'_>,
    out: &mut Findings,
) -> Option<Nic> {
    let state = choose(
        &written.state,
        &path.key("state"),
        "a state of an interface",
        &STATES,
        out,
    );
    if state == Some(State::Absent) {
        out.notice(
            &path.key("state"),
            "the interface is `absent`: the guest does not get it",
        );
        return None;
    }
    let model = choose(
        &written.model,
        &path.key("model"),
        "a NIC model that this version has",
        &MODELS,
        out,
    )
    .unwrap_or_default();
    let binding = binding(written, network, &path, vmi, out);
    tag(&written.tag, &path.key("tag"), out);
    let nic = Nic {
        name: name.to_owned(),
        network: attached(name, network, vmi, out)?,
        model,
        mac: mac(written, &path.key("macAddress"), shared, out)
            .or_else(|| nic_status::mac(name, vmi, out)),
        queues: if model == NicModel::Virtio {
            nic_status::queues(name, vmi).unwrap_or(shared.queues)
        } else {
            1
        },
        boot_order: shared
            .taken
            .boot_order(written.boot_order, &path.key("bootOrder"), out),
        pci_address: shared
            .taken
            .pci_address(&written.pci_address, &path.key("pciAddress"), out),
        acpi_index: acpi_index(written.acpi_index, &path.key("acpiIndex"), shared, out),
        link_down: state == Some(State::Down),
        dhcp_options: dhcp_options(&written.dhcp_options, &path.key("dhcpOptions"), out),
        binding: binding?,
        path: path.to_string(),
    };
    if nic.binding == Binding::Bridge && has_ports(written) {
        out.notice(
            &path.key("ports"),
            "a bridge forwards every port: the list changes nothing",
        );
    }
    Some(nic)
}

fn attached(name: &str, network: &Behind, vmi: &Vmi, out: &mut Findings) -> Option<Network> {
    Some(match network.source.as_ref()? {
        Source::Pod(..) | Source::MultusDefault => Network::Primary {
            pod_link: nic_status::pod_link(name, vmi, out),
        },
        Source::Multus {
            definition,
            ordinal,
        } => Network::Secondary {
            definition: definition.clone(),
            ordinal: *ordinal,
        },
    })
}

/// KubeVirt tells tags in a ConfigDrive's metadata, and in nothing else.
fn tag(tag: &Option<String>, at: &Path, out: &mut Findings) {
    if given(tag).is_some_and(|text| printable(text, MOST_TAG_BYTES, at, out).is_some()) {
        out.notice(
            at,
            "tags reach a guest in a ConfigDrive's metadata alone, which this VMI has not: the guest does not see it",
        );
    }
}

fn mac(
    written: &Interface,
    at: &Path,
    shared: &mut Shared<'_>,
    out: &mut Findings,
) -> Option<MacAddr> {
    let text = given(&written.mac_address)?;
    match text.parse::<MacAddr>() {
        Ok(mac) if !mac.is_unicast() => {
            let message = if mac.0 == [0; 6] {
                format!("`{text}` is no address")
            } else {
                format!("`{text}` is the address of a group")
            };
            out.refuse(
                at,
                message,
                "use a locally administered one, such as `02:00:00:00:00:01`",
            );
            None
        }
        Ok(mac) => {
            if let Some(owner) = shared.macs.get(&mac) {
                out.refuse(
                    at,
                    format!("`{mac}` is taken by `{}`", owner.parent()),
                    "give each interface its own",
                );
            } else {
                shared.macs.insert(mac, at.clone());
            }
            Some(mac)
        }
        Err(error) => {
            out.refuse(at, error.to_string(), "leave it out to use the pod's");
            None
        }
    }
}

fn acpi_index(
    index: Option<i64>,
    at: &Path,
    shared: &mut Shared<'_>,
    out: &mut Findings,
) -> Option<u32> {
    // Go's JSON leaves a zero out.
    let written = index.filter(|index| *index != 0)?;
    let Some(index) = u32::try_from(written)
        .ok()
        .filter(|_| written <= MOST_ACPI_INDEX)
    else {
        out.refuse(
            at,
            format!("`{written}` is not an ACPI index"),
            format!("use 1 to {MOST_ACPI_INDEX}"),
        );
        return None;
    };
    if let Some(owner) = shared.acpi.get(&index) {
        out.refuse(
            at,
            format!("`{index}` is taken by `{}`", owner.parent()),
            "give each interface its own",
        );
    } else {
        shared.acpi.insert(index, at.clone());
    }
    Some(index)
}

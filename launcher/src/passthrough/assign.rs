//! Which device of the host each interface, GPU and host device means.
//!
//! For SR-IOV the order of trust is network-info (per network), then a `PCIDEVICE_*` variable where it leaves no choice
//! (several interfaces on one pool could swap: kubevirt issue 6351), then the annotation. Two sources that both speak and
//! differ are refused. GPUs and host devices take KubeVirt's own plugin's list in order (facts 4.6).

use std::collections::{BTreeMap, BTreeSet};

use super::{Assigned, Host};
use crate::host::network_info::NetworkDevice;
use crate::machine::pci::PciAddress;
use crate::refusal::Violation;
use crate::spec::host_device::{ANNOTATION, HostDevice, Kind};

/// How a variable of the SR-IOV device plugin begins.
const SRIOV: &str = "PCIDEVICE_";
/// How older KubeVirts said which resource is behind a network.
const RESOURCE_OF: &str = "KUBEVIRT_RESOURCE_NAME_";

/// Everything that tells of devices.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The file's entries; none while it is empty or absent.
    pub network_info: Option<&'a [NetworkDevice]>,
    /// The pod's environment.
    pub environment: &'a BTreeMap<String, String>,
}

/// Every wanted device with its device of the host, or everything that is missing, surplus or in doubt.
pub fn assign(
    wanted: &[HostDevice],
    sources: Sources<'_>,
) -> Result<Vec<Assigned>, Vec<Violation>> {
    let mut out = Out::default();
    for one in wanted {
        match &one.kind {
            Kind::Sriov { network } => {
                sriov(one, network, wanted, sources, &mut out);
            }
            Kind::Gpu { .. } | Kind::HostDevice { .. } => {}
        }
    }
    plugin_devices(wanted, sources.environment, &mut out);
    twice(&out.assigned.clone(), &mut out);
    out.assigned
        .sort_by_key(|assigned| wanted.iter().position(|one| one.path == assigned.path));
    if out.violations.is_empty() {
        Ok(out.assigned)
    } else {
        Err(out.violations)
    }
}

#[derive(Default)]
struct Out {
    assigned: Vec<Assigned>,
    violations: Vec<Violation>,
}

impl Out {
    fn refuse(&mut self, path: &str, message: String, hint: impl Into<String>) {
        self.violations.push(Violation::new(path, message, hint));
    }

    fn give(&mut self, one: &HostDevice, device: Host, source: impl Into<String>) {
        self.assigned.push(Assigned {
            name: one.name.clone(),
            path: one.path.clone(),
            device,
            source: source.into(),
        });
    }
}

fn sriov(
    one: &HostDevice,
    network: &str,
    wanted: &[HostDevice],
    sources: Sources<'_>,
    out: &mut Out,
) {
    let recorded = sources.network_info.and_then(|devices| {
        let device = devices.iter().find(|device| device.network == one.name)?;
        device.address
    });
    let asked = one.told;
    if let (Some(recorded), Some(asked)) = (recorded, asked)
        && recorded != asked
    {
        out.refuse(
            &one.path,
            format!("network-info gives it `{recorded}`, the annotation `{ANNOTATION}` gives it `{asked}`"),
            "remove the annotation: the CNI has set up the device of network-info",
        );
        return;
    }
    if let Some(address) = recorded {
        out.give(one, Host::Pci(address), "/etc/podinfo/network-info");
        return;
    }
    match by_environment(one, wanted, sources.environment) {
        Found::One { address, variable } => match asked {
            Some(asked) if asked != address => out.refuse(
                &one.path,
                format!("`{variable}` gives it `{address}`, the annotation `{ANNOTATION}` gives it `{asked}`"),
                "remove the annotation: the pod holds the plugin's device",
            ),
            _ => out.give(one, Host::Pci(address), variable),
        },
        Found::Unclear { message } => match asked {
            Some(asked) => out.give(one, Host::Pci(asked), ANNOTATION),
            None => out.refuse(
                &one.path,
                format!("no source says which VF is behind network `{network}`: {message}"),
                format!(
                    "let Multus record device information (the network's `k8s.v1.cni.cncf.io/resourceName`, DPDeviceInfo), \
                     or name the VF by the annotation `{ANNOTATION}`"
                ),
            ),
        },
        Found::Malformed { variable, text } => out.refuse(
            &one.path,
            format!("`{variable}` holds `{text}`, which is no PCI address"),
            "the device plugin sets it; see its logs on the node",
        ),
    }
}

enum Found {
    One {
        address: PciAddress,
        variable: String,
    },
    Unclear {
        message: String,
    },
    Malformed {
        variable: String,
        text: String,
    },
}

/// A variable speaks for an interface only when it holds as many VFs as there are interfaces for them: one.
fn by_environment(
    one: &HostDevice,
    wanted: &[HostDevice],
    environment: &BTreeMap<String, String>,
) -> Found {
    let resource_of = |name: &str| environment.get(&format!("{RESOURCE_OF}{name}"));
    let pools: Vec<(&String, &String)> = environment
        .iter()
        .filter(|(name, _)| name.starts_with(SRIOV) && !name.ends_with("_INFO"))
        .collect();
    let (variable, value, users) = match (resource_of(&one.name), pools.as_slice()) {
        (Some(resource), _) => {
            let variable = variable_of(SRIOV, resource);
            let Some(value) = environment.get(&variable) else {
                return Found::Unclear {
                    message: format!(
                        "resource `{resource}` has no variable `{variable}` in the pod"
                    ),
                };
            };
            let users = wanted
                .iter()
                .filter(|other| resource_of(&other.name) == Some(resource))
                .count();
            (variable, value, users)
        }
        (None, [(variable, value)]) => {
            let users = wanted
                .iter()
                .filter(|other| matches!(other.kind, Kind::Sriov { .. }))
                .count();
            ((*variable).clone(), *value, users)
        }
        (None, []) => {
            return Found::Unclear {
                message: "network-info does not name it, and the pod has no variable `PCIDEVICE_*`"
                    .to_owned(),
            };
        }
        (None, several) => {
            let names: Vec<String> = several
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            return Found::Unclear {
                message: format!(
                    "network-info does not name it, and it may be from any of {}",
                    names.join(", ")
                ),
            };
        }
    };
    match (addresses(value), users) {
        (Err(text), _) => Found::Malformed { variable, text },
        (Ok(found), 1) if found.len() == 1 => Found::One {
            address: found[0],
            variable,
        },
        (Ok(found), users) => Found::Unclear {
            message: format!(
                "`{variable}` holds {} (`{value}`) for {}",
                counted(found.len(), "VF"),
                counted(users, "interface")
            ),
        },
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// As both device plugins spell a resource's name in the environment.
fn variable_of(prefix: &str, resource: &str) -> String {
    let name: String = resource
        .chars()
        .map(|letter| match letter {
            '/' | '.' => '_',
            letter => letter.to_ascii_uppercase(),
        })
        .collect();
    format!("{prefix}{name}")
}

fn addresses(value: &str) -> Result<Vec<PciAddress>, String> {
    entries(value)
        .map(|entry| entry.parse().map_err(|_| entry.to_owned()))
        .collect()
}

/// A trailing comma is KubeVirt's own plugin's habit.
fn entries(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// GPUs first, then host devices, each resource's list in order, as KubeVirt pops them.
fn plugin_devices(wanted: &[HostDevice], environment: &BTreeMap<String, String>, out: &mut Out) {
    let resource_of = |one: &HostDevice| match &one.kind {
        Kind::Gpu { resource } | Kind::HostDevice { resource } => Some(resource.clone()),
        Kind::Sriov { .. } => None,
    };
    let is_gpu = |one: &&HostDevice| matches!(one.kind, Kind::Gpu { .. });
    let resources: BTreeSet<String> = wanted.iter().filter_map(resource_of).collect();
    for resource in resources {
        let of_it = |one: &&HostDevice| resource_of(one).as_ref() == Some(&resource);
        let users: Vec<&HostDevice> = wanted
            .iter()
            .filter(of_it)
            .filter(is_gpu)
            .chain(wanted.iter().filter(of_it).filter(|one| !is_gpu(one)))
            .collect();
        let pci = variable_of("PCI_RESOURCE_", &resource);
        let mdev = variable_of("MDEV_PCI_RESOURCE_", &resource);
        let found: Result<Vec<(Host, &str)>, (String, String)> = listed(&pci, &mdev, environment);
        let found = match found {
            Ok(found) => found,
            Err((variable, entry)) => {
                out.refuse(
                    &users[0].path,
                    format!("`{variable}` holds `{entry}`, which names no device"),
                    "the device plugin sets it; see virt-handler's logs on the node",
                );
                continue;
            }
        };
        if found.len() != users.len() {
            out.refuse(
                &users[0].path,
                format!(
                    "resource `{resource}` is asked for by {} and the pod holds {} (`{pci}`, `{mdev}`)",
                    counted(users.len(), "device"),
                    found.len()
                ),
                "request as many of the resource in the pod as the VMI has devices of it",
            );
            continue;
        }
        for (one, (device, variable)) in users.into_iter().zip(found) {
            out.give(one, device, variable);
        }
    }
}

fn listed<'a>(
    pci: &'a str,
    mdev: &'a str,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<(Host, &'a str)>, (String, String)> {
    let mut found = Vec::new();
    for entry in environment
        .get(pci)
        .map(String::as_str)
        .into_iter()
        .flat_map(entries)
    {
        let address = entry
            .parse()
            .map_err(|_| (pci.to_owned(), entry.to_owned()))?;
        found.push((Host::Pci(address), pci));
    }
    for entry in environment
        .get(mdev)
        .map(String::as_str)
        .into_iter()
        .flat_map(entries)
    {
        let uuid = entry
            .parse()
            .map_err(|_| (mdev.to_owned(), entry.to_owned()))?;
        found.push((Host::Mdev(uuid), mdev));
    }
    Ok(found)
}

/// One device for two entries is a mistake wherever it comes from.
fn twice(assigned: &[Assigned], out: &mut Out) {
    for (index, one) in assigned.iter().enumerate() {
        if let Some(other) = assigned[..index]
            .iter()
            .find(|other| other.device == one.device)
        {
            let device = one.device;
            out.refuse(
                &one.path,
                format!(
                    "it gets `{device}` ({}), which `{}` has already ({})",
                    one.source, other.path, other.source
                ),
                "a device serves one entry",
            );
        }
    }
}

#[cfg(test)]
mod tests;

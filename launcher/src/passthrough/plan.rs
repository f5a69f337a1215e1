//! What will be passed through, as data.

use hugepages::Bytes;
use serde::{Deserialize, Serialize};

use super::assign::{Sources, assign};
use super::memlock::{self, Memlock};
use super::{Host, mdev, preflight};
use crate::host::HostFacts;
use crate::host::pci::PciFacts;
use crate::refusal::{Notice, Violation};
use crate::spec::Spec;
use crate::spec::cpu::CpuModel;

/// A guest's physical addresses where its CPU model does not take the host's (QEMU's `phys-bits`).
const USUAL_ADDRESS_BITS: u32 = 40;

/// The VM's devices of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassthroughPlan {
    /// In the VMI's order: interfaces, GPUs, host devices.
    pub devices: Vec<Passed>,
    /// `RLIMIT_MEMLOCK` that QEMU gets, in bytes; none: it is enough as it is.
    pub memlock: Option<Bytes>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Passed {
    /// The VMI's name for it.
    pub name: String,
    /// JSON path of the entry.
    pub path: String,
    /// QEMU's id for it.
    pub id: String,
    /// What it is on the host.
    pub device: Host,
    /// Its IOMMU group, which QEMU opens unless it is handed files.
    pub group: Option<u32>,
    /// `/dev/vfio/devices/<this>`, which is handed to QEMU with `/dev/iommu`; none: by its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdev: Option<String>,
    /// Host node, where known.
    pub host_node: Option<u32>,
    /// What said that it is this one.
    pub source: String,
}

impl PassthroughPlan {
    /// Whether QEMU is handed files of iommufd.
    pub fn by_iommufd(&self) -> bool {
        self.devices.iter().any(|device| device.cdev.is_some())
    }
}

/// The devices of `spec`, as far as sysfs shows that they can be had.
///
/// # Errors
/// Everything in the way: which device is meant, its driver, its group, its regions, locked memory.
pub fn plan(
    spec: &Spec,
    facts: &HostFacts,
) -> Result<(PassthroughPlan, Vec<Notice>), Vec<Violation>> {
    let sources = Sources {
        network_info: facts.network_info.as_deref(),
        environment: &facts.environment,
    };
    let assigned = assign(&spec.host_devices, sources)?;
    let mut plan = PassthroughPlan::default();
    let (mut violations, mut notices) = (Vec::new(), Vec::new());
    for (wanted, assigned) in spec.host_devices.iter().zip(&assigned) {
        let (group, node) = match assigned.device {
            Host::Pci(address) => {
                let found = facts.pci.get(&address);
                violations.extend(preflight::check(assigned, address, found));
                if let Some(found) = found {
                    let bits = address_bits(spec, facts);
                    violations.extend(preflight::fits_address_width(
                        assigned,
                        found,
                        spec.memory.guest,
                        bits,
                    ));
                    notices.extend(preflight::notices(assigned, found));
                }
                let group = found.and_then(|found| Some(found.group.as_ref()?.id));
                (group, found.and_then(|found| found.node))
            }
            Host::Mdev(uuid) => {
                let found = facts.mdevs.get(&uuid);
                violations.extend(mdev::check(assigned, uuid, found));
                let group = found.and_then(|found| found.group);
                (group, found.and_then(|found| found.node))
            }
        };
        plan.devices.push(Passed {
            name: wanted.name.clone(),
            path: wanted.path.clone(),
            id: wanted.id(),
            device: assigned.device,
            group,
            cdev: None,
            host_node: node.map(|node| node.0),
            source: assigned.source.clone(),
        });
    }
    if let Some(cdevs) = cdevs(&plan.devices, facts) {
        for (device, cdev) in plan.devices.iter_mut().zip(cdevs) {
            device.cdev = Some(cdev);
        }
    }
    let limits = facts.memlock;
    if let Some(first) = plan.devices.first() {
        let memlock = memlock::decide(
            spec.memory.guest,
            limits.soft,
            limits.hard,
            limits.may_raise,
        );
        violations.extend(preflight::memlock(&first.path, memlock));
        if let Memlock::Raise(needed) = memlock {
            plan.memlock = Some(needed);
        }
    }
    if violations.is_empty() {
        Ok((plan, notices))
    } else {
        Err(violations)
    }
}

/// Files for all of them, or for none: memory would be pinned once for iommufd and once more for groups.
fn cdevs(devices: &[Passed], facts: &HostFacts) -> Option<Vec<String>> {
    let cdev = |device: &Passed| match device.device {
        Host::Pci(address) => facts.pci.get(&address).and_then(PciFacts::openable_cdev),
        Host::Mdev(_) => None,
    };
    facts
        .iommufd
        .then(|| devices.iter().map(cdev).collect())
        .flatten()
}

fn address_bits(spec: &Spec, facts: &HostFacts) -> u32 {
    match spec.cpu.model {
        CpuModel::HostModel | CpuModel::HostPassthrough => {
            facts.cpu.address_bits.unwrap_or(USUAL_ADDRESS_BITS)
        }
        CpuModel::Named(_) => USUAL_ADDRESS_BITS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    /// Two VFs, with the file of each.
    fn planned(iommufd: bool, files: [Option<&str>; 2]) -> Vec<Option<String>> {
        let addresses = ["0000:82:02.1", "0000:82:02.2"];
        let mut spec = fixtures::spec();
        let mut facts = fixtures::facts();
        facts.iommufd = iommufd;
        for (number, (address, file)) in addresses.into_iter().zip(files).enumerate() {
            spec.host_devices
                .push(fixtures::vf(&format!("vf{number}"), address));
            let vf = fixtures::vf_facts(address, file);
            facts.pci.insert(vf.address, vf);
        }
        let (plan, _) = plan(&spec, &facts).unwrap();
        plan.devices.into_iter().map(|one| one.cdev).collect()
    }

    #[test]
    fn iommufd_takes_all_devices_or_none() {
        let both = [Some("vfio0"), Some("vfio1")];
        assert_eq!(
            planned(true, both),
            both.map(|file| file.map(str::to_owned))
        );
        assert_eq!(planned(false, both), [None, None]);
        assert_eq!(planned(true, [Some("vfio0"), None]), [None, None]);
    }
}

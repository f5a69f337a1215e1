//! What sysfs already shows to be wrong with a device, each with what mends it.

use hugepages::Bytes;

use super::Assigned;
use super::memlock::Memlock;
use crate::host::pci::PciFacts;
use crate::machine::pci::PciAddress;
use crate::refusal::{Notice, Violation};

/// Drivers that leave DMA of their device to others (`driver_managed_dma` in the kernel).
const HARMLESS: &[&str] = &["pcieport", "pci-stub", "shpchp"];

/// Everything wrong with one device, in the order in which it would be mended.
pub fn check(assigned: &Assigned, address: PciAddress, facts: Option<&PciFacts>) -> Vec<Violation> {
    let refuse =
        |message: String, hint: String| Violation::new(assigned.path.clone(), message, hint);
    let Some(facts) = facts else {
        return vec![refuse(
            format!(
                "there is no PCI device `{address}` ({} says there is)",
                assigned.source
            ),
            "the VF was removed or renumbered: look at `sriov_numvfs` of its physical function"
                .to_owned(),
        )];
    };
    let mut violations = Vec::new();
    if !facts.is_vfio() {
        let driver = facts
            .driver
            .as_ref()
            .map_or_else(|| "no driver".to_owned(), |name| format!("driver `{name}`"));
        violations.push(refuse(
            format!(
                "`{address}` ({}) is bound to {driver}, not to vfio-pci",
                facts.id
            ),
            bind_command(facts),
        ));
    }
    match &facts.group {
        None => violations.push(refuse(
            format!("`{address}` is in no IOMMU group"),
            "turn on the IOMMU in the firmware and on the kernel's command line (`intel_iommu=on`)"
                .to_owned(),
        )),
        Some(group) => {
            for member in &group.members {
                let driver = match &member.driver {
                    Some(driver) if !member.vfio && !HARMLESS.contains(&driver.as_str()) => driver,
                    _ => continue,
                };
                if member.address != address {
                    violations.push(refuse(
                        format!(
                            "`{address}` shares IOMMU group {} with `{}`, which driver `{driver}` has",
                            group.id, member.address
                        ),
                        format!("bind `{}` to vfio-pci too, or use a slot with ACS", member.address),
                    ));
                }
            }
        }
    }
    violations
}

/// What deserves a word and stops nothing.
pub fn notices(assigned: &Assigned, facts: &PciFacts) -> Vec<Notice> {
    let mut notices = Vec::new();
    if facts.reset_methods.is_empty() {
        notices.push(Notice::new(
            assigned.path.clone(),
            format!(
                "`{}` cannot be reset: the next guest may find what this one left in it",
                facts.address
            ),
        ));
    }
    notices
}

/// Where the device's regions do not fit under the guest's physical address width, its firmware cannot place them.
pub fn fits_address_width(
    assigned: &Assigned,
    facts: &PciFacts,
    guest: Bytes,
    bits: u32,
) -> Option<Violation> {
    let space = 1u128 << bits.min(127);
    let regions: u128 = facts.bars.iter().map(|size| u128::from(*size)).sum();
    let largest = facts.bars.iter().copied().max().unwrap_or(0);
    // A region lies at a multiple of its own size above RAM.
    let need = u128::from(guest.0) + regions + u128::from(largest);
    (need > space).then(|| {
        Violation::new(
            assigned.path.clone(),
            format!(
                "`{}` has `{}` of memory regions, too much beside `{guest}` of RAM for {bits} address bits",
                facts.address,
                Bytes(u64::try_from(regions).unwrap_or(u64::MAX))
            ),
            "a CPU model with more physical address bits: `host-passthrough` has the host's",
        )
    })
}

/// What a limit on locked memory means for the VM.
pub fn memlock(path: &str, memlock: Memlock) -> Option<Violation> {
    let Memlock::Short { needed, hard } = memlock else {
        return None;
    };
    Some(Violation::new(
        path,
        format!("QEMU must lock `{needed}` of memory for DMA and may lock `{hard}`"),
        format!(
            "virt-handler raises RLIMIT_MEMLOCK of the pod's processes; by hand: `prlimit --memlock={}` before the start",
            needed.0
        ),
    ))
}

fn bind_command(facts: &PciFacts) -> String {
    let PciFacts {
        address, driver, ..
    } = facts;
    let device = format!("/sys/bus/pci/devices/{address}");
    let unbind = driver
        .as_ref()
        .map(|_| format!("echo {address} > {device}/driver/unbind; "))
        .unwrap_or_default();
    format!(
        "on the host: `echo vfio-pci > {device}/driver_override; {unbind}echo {address} > /sys/bus/pci/drivers_probe`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::pci::{Group, Member};
    use crate::passthrough::Host;

    const ADDRESS: &str = "0000:82:02.1";

    fn assigned() -> Assigned {
        Assigned {
            name: "fast".to_owned(),
            path: "spec.domain.devices.interfaces[1]".to_owned(),
            device: Host::Pci(ADDRESS.parse().unwrap()),
            source: "/etc/podinfo/network-info".to_owned(),
        }
    }

    fn member(address: &str, driver: Option<&str>) -> Member {
        Member {
            address: address.parse().unwrap(),
            driver: driver.map(str::to_owned),
            vfio: driver == Some("vfio-pci"),
        }
    }

    fn facts(driver: Option<&str>, others: Vec<Member>) -> PciFacts {
        let mut members = vec![member("0000:82:02.1", driver)];
        members.extend(others);
        PciFacts {
            address: "0000:82:02.1".parse().unwrap(),
            driver: driver.map(str::to_owned),
            id: "8086:1520".to_owned(),
            physical: None,
            node: None,
            group: Some(Group { id: 17, members }),
            cdev: None,
            cdev_file: false,
            reset_methods: vec!["flr".to_owned()],
            bars: vec![0x4000],
        }
    }

    #[test]
    fn a_good_device_is_let_through() {
        // Bridges and what no driver has do no DMA of their own accord.
        let others = vec![
            member("0000:80:02.0", Some("pcieport")),
            member("0000:82:02.2", None),
        ];
        let facts = facts(Some("vfio-pci"), others);
        assert_eq!(
            check(&assigned(), ADDRESS.parse().unwrap(), Some(&facts)),
            []
        );
        assert_eq!(notices(&assigned(), &facts), []);
    }

    #[test]
    fn each_wrong_names_what_mends_it() {
        let mut text: Vec<String> = check(&assigned(), ADDRESS.parse().unwrap(), None)
            .iter()
            .map(ToString::to_string)
            .collect();
        let shared = vec![
            member("0000:82:00.0", Some("igb")),
            member("0000:82:00.1", Some("ixgbe")),
        ];
        let mut no_group = facts(None, Vec::new());
        no_group.group = None;
        for facts in [facts(Some("igbvf"), shared), no_group] {
            text.extend(
                check(&assigned(), ADDRESS.parse().unwrap(), Some(&facts))
                    .iter()
                    .map(ToString::to_string),
            );
        }
        let short = Memlock::Short {
            needed: Bytes(4 << 30),
            hard: Bytes(8 << 20),
        };
        text.extend(
            memlock("spec.domain.memory", short)
                .iter()
                .map(ToString::to_string),
        );
        let mut gpu = facts(Some("vfio-pci"), Vec::new());
        gpu.bars = vec![128 << 30];
        text.extend(
            fits_address_width(&assigned(), &gpu, Bytes(4 << 30), 38)
                .iter()
                .map(ToString::to_string),
        );
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn regions_that_fit_are_let_through() {
        let facts = facts(Some("vfio-pci"), Vec::new());
        assert_eq!(
            fits_address_width(&assigned(), &facts, Bytes(4 << 30), 40),
            None
        );
    }
}

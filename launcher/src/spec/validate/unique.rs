//! What disks and interfaces may not share.

use std::collections::BTreeMap;

use super::given;
use crate::machine::pci::PciAddress;
use crate::vmi::findings::Findings;
use crate::vmi::path::Path;

/// Boot orders and PCI addresses, and who has them.
#[derive(Debug, Default)]
pub(super) struct Taken {
    boot: BTreeMap<u32, Path>,
    pci: BTreeMap<PciAddress, Path>,
}

impl Taken {
    /// `bootOrder`: from 1, each device its own.
    pub(super) fn boot_order(
        &mut self,
        order: Option<i64>,
        at: &Path,
        out: &mut Findings,
    ) -> Option<u32> {
        let order = order?;
        let Some(order) = u32::try_from(order)
            .ok()
            .filter(|order| (1..=i32::MAX.unsigned_abs()).contains(order))
        else {
            out.refuse(
                at,
                format!("`{order}` is not a place in the boot order"),
                "count from 1",
            );
            return None;
        };
        taken_by(&mut self.boot, order, at, out);
        Some(order)
    }

    /// `pciAddress`: each device its own, on the guest's only segment.
    pub(super) fn pci_address(
        &mut self,
        text: &Option<String>,
        at: &Path,
        out: &mut Findings,
    ) -> Option<PciAddress> {
        let text = given(text)?;
        match text.parse::<PciAddress>() {
            Ok(address) if address.domain == 0 => {
                taken_by(&mut self.pci, address, at, out);
                Some(address)
            }
            Ok(_) => {
                out.refuse(
                    at,
                    format!("`{text}` is on another segment than the guest's"),
                    "begin it with `0000:`",
                );
                None
            }
            Err(error) => {
                out.refuse(
                    at,
                    error.to_string(),
                    "it is where the guest sees the device",
                );
                None
            }
        }
    }
}

fn taken_by<K: Ord + std::fmt::Display>(
    owners: &mut BTreeMap<K, Path>,
    key: K,
    at: &Path,
    out: &mut Findings,
) {
    if let Some(owner) = owners.get(&key) {
        out.refuse(
            at,
            format!("`{key}` is taken by `{}`", owner.parent()),
            "give each device its own",
        );
    } else {
        owners.insert(key, at.clone());
    }
}

//! PCI devices that device plugins gave to the pod, and their nodes.
//!
//! SR-IOV's plugin tells them by `PCIDEVICE_<RESOURCE>`, KubeVirt's own by `PCI_RESOURCE_<RESOURCE>`, several with
//! commas between them (facts 11).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use numa::{FactError, HostRoot, NodeId, Topology};
use serde::{Deserialize, Serialize};

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDevice {
    /// The variable that names it.
    pub variable: String,
    /// `0000:82:02.1`.
    pub address: String,
    /// Its node, where anything tells.
    pub node: Option<NodeId>,
}

const PREFIXES: [&str; 2] = ["PCIDEVICE_", "PCI_RESOURCE_"];

/// By variable, then in the plugin's order. What is no PCI address (`PCIDEVICE_..._INFO` holds JSON) is not one.
pub(super) fn read(
    root: &HostRoot,
    environment: &BTreeMap<String, String>,
    topology: &Topology,
) -> Result<Vec<PluginDevice>, FactError> {
    let mut devices = Vec::new();
    for (variable, addresses) in environment {
        if !PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
            continue;
        }
        for address in addresses
            .split(',')
            .map(str::trim)
            .filter(|text| is_address(text))
        {
            devices.push(PluginDevice {
                variable: variable.clone(),
                address: address.to_owned(),
                node: numa::pci_locality(root, address, topology)?.node(),
            });
        }
    }
    Ok(devices)
}

/// `domain:bus:device.function` in hexadecimal digits; domains may have more than four (VMD).
fn is_address(text: &str) -> bool {
    let hex = |part: &str, digits: RangeInclusive<usize>| {
        digits.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let Some((slot, function)) = text.split_once('.') else {
        return false;
    };
    let parts: Vec<&str> = slot.split(':').collect();
    matches!(parts[..], [domain, bus, device]
        if hex(domain, 4..=8) && hex(bus, 2..=2) && hex(device, 2..=2) && hex(function, 1..=1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_full_ones() {
        for text in ["0000:82:02.1", "10000:01:00.0"] {
            assert!(is_address(text), "{text}");
        }
        for text in [
            "82:02.1",
            "0000:82:02",
            "0000.82.02.1",
            "0000:82:02:1",
            "{}",
            "",
            "0000:82:02.10",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}

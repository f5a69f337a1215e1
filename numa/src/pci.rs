//! The node that a PCI device is on, and how that is known.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::allowed::LIST;
use crate::cpuset::{CpuSet, NodeId};
use crate::file::{self, FactError};
use crate::root::HostRoot;
use crate::topology::Topology;

/// Where a PCI device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PciNode {
    /// On this node.
    Known {
        /// The node.
        node: NodeId,
        /// What tells so.
        by: PciNodeSource,
    },
    /// It is there, and nothing tells its node.
    Untold,
    /// There is no such device.
    Absent,
}

/// What tells a device's node, the surest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PciNodeSource {
    /// Its own `numa_node`.
    Device,
    /// That of the physical function it is a virtual function of, at this address.
    PhysicalFunction(String),
    /// That of a bridge above it, at this address.
    Bridge(String),
    /// `local_cpulist`: the CPUs near it are all of one node, and not all there are.
    LocalCpus,
    /// The host has one node only.
    OnlyNode,
}

impl PciNode {
    /// The node, where it is known.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Known { node, .. } => Some(*node),
            Self::Untold | Self::Absent => None,
        }
    }
}

/// The node that a PCI device's own firmware tells, by its full address `0000:3b:02.1`; none when the device is not
/// there or its firmware does not say (`-1`). [`pci_locality`] looks further.
pub fn pci_node(root: &HostRoot, address: &str) -> Result<Option<NodeId>, FactError> {
    told(&device(root, address)?)
}

/// The node that a PCI device is on, by its full address `0000:3b:02.1`. Firmware that leaves a device's node out
/// (`numa_node` is -1) often tells that of its physical function or of a bridge above it.
pub fn pci_locality(
    root: &HostRoot,
    address: &str,
    topology: &Topology,
) -> Result<PciNode, FactError> {
    let path = device(root, address)?;
    let Some(path) = resolve(&path)? else {
        return Ok(PciNode::Absent);
    };
    let known = |node, by| Ok(PciNode::Known { node, by });
    if let Some(node) = told(&path)? {
        return known(node, PciNodeSource::Device);
    }
    let function = resolve(&path.join("physfn"))?;
    if let Some(function) = &function
        && let Some(node) = told(function)?
    {
        return known(node, PciNodeSource::PhysicalFunction(name(function)));
    }
    // A VF's bus may be one of its own, below no bridge: its physical function's way up counts too.
    for start in [Some(&path), function.as_ref()].into_iter().flatten() {
        let bridges = start.ancestors().skip(1);
        for bridge in bridges.take_while(|above| is_address(&name(above))) {
            if let Some(node) = told(bridge)? {
                return known(node, PciNodeSource::Bridge(name(bridge)));
            }
        }
    }
    let near: Option<CpuSet> = file::value(&path.join("local_cpulist"), LIST)?;
    let near = near.unwrap_or_default().intersection(&topology.cpus);
    let nodes = topology.nodes_of(&near);
    // The kernel writes all CPUs where it knows nothing.
    if near != topology.cpus
        && let (Some(node), 1) = (nodes.first(), nodes.len())
    {
        return known(NodeId(node), PciNodeSource::LocalCpus);
    }
    if let (Some(node), 1) = (topology.nodes.keys().next(), topology.nodes.len()) {
        return known(*node, PciNodeSource::OnlyNode);
    }
    Ok(PciNode::Untold)
}

/// Its `numa_node`, where that is one.
fn told(device: &Utf8Path) -> Result<Option<NodeId>, FactError> {
    let node: Option<i64> = file::value(&device.join("numa_node"), "a node's number or -1")?;
    Ok(node.and_then(|id| u32::try_from(id).ok()).map(NodeId))
}

fn device(root: &HostRoot, address: &str) -> Result<Utf8PathBuf, FactError> {
    let path = root.sys("bus/pci/devices").join(address);
    if is_address(address) {
        return Ok(path);
    }
    Err(FactError::malformed(
        &path,
        address,
        "a PCI address such as `0000:3b:02.1`",
    ))
}

/// Domain (four digits, or more below a VMD), bus, device, function: `0000:3b:02.1`.
fn is_address(text: &str) -> bool {
    let hex = |part: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let parts = || {
        let (domain, rest) = text.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        Some((domain, bus, device, function))
    };
    parts().is_some_and(|(domain, bus, device, function)| {
        hex(domain, 4..=8) && hex(bus, 2..=2) && hex(device, 2..=2) && hex(function, 1..=1)
    })
}

fn name(path: &Utf8Path) -> String {
    path.file_name().unwrap_or_default().to_owned()
}

/// Where a link of sysfs leads; none where there is none.
fn resolve(link: &Utf8Path) -> Result<Option<Utf8PathBuf>, FactError> {
    match link.canonicalize_utf8() {
        Ok(path) => Ok(Some(path)),
        Err(error) if file::is_absence(&error) => Ok(None),
        Err(source) => Err(FactError::Read {
            path: link.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_names() {
        for address in ["0000:3b:02.1", "10000:e1:00.0", "0000:FF:1f.7"] {
            assert!(is_address(address), "{address}");
        }
        for other in [
            "pci0000:3b",
            "0000:3b:02",
            "3b:02.1",
            "0000:3b:02.",
            "0000:3b.02:1",
            "..",
            "0000:82:02.1/..",
            "",
        ] {
            assert!(!is_address(other), "{other}");
        }
    }
}

//! `/etc/podinfo/network-info`: what Multus gave each network, as KubeVirt's controller passes it on (facts 7.9).

use serde::{Deserialize, Serialize};

use crate::machine::pci::PciAddress;

/// Longer files are no list of a pod's interfaces.
pub const LONGEST: usize = 1 << 20;

/// What one network got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDevice {
    /// `spec.networks[].name`.
    pub network: String,
    /// The address that the CNI set, as written.
    pub mac: Option<String>,
    /// The device, where one was recorded.
    pub address: Option<PciAddress>,
}

/// The file says something else.
#[derive(Debug, thiserror::Error)]
pub enum BadNetworkInfo {
    /// No JSON of this shape.
    #[error("network-info is not KubeVirt's list of interfaces")]
    Shape(#[source] serde_json::Error),
    /// One address.
    #[error(
        "network-info gives network `{network}` the device `{address}`, which is no PCI address"
    )]
    Address {
        /// Whose.
        network: String,
        /// As written.
        address: String,
    },
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    network: String,
    mac: Option<String>,
    #[serde(rename = "deviceInfo")]
    device_info: Option<DeviceInfo>,
}

/// The Device Information Specification's object (version 1.1.0).
#[derive(Deserialize)]
struct DeviceInfo {
    pci: Option<Pci>,
}

#[derive(Deserialize)]
struct Pci {
    #[serde(rename = "pci-address")]
    address: Option<String>,
}

/// Reads the file's text. Empty until the controller has written it: then there is nothing to read.
///
/// # Errors
///
/// [`BadNetworkInfo`] when the text is neither empty nor KubeVirt's.
pub fn parse(text: &str) -> Result<Option<Vec<NetworkDevice>>, BadNetworkInfo> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let info: Info = serde_json::from_str(text).map_err(BadNetworkInfo::Shape)?;
    let devices = info.interfaces.into_iter().map(|interface| {
        let written = interface.device_info.and_then(|info| info.pci?.address);
        let address = match written {
            None => None,
            Some(address) => Some(address.parse().map_err(|_| BadNetworkInfo::Address {
                network: interface.network.clone(),
                address,
            })?),
        };
        Ok(NetworkDevice {
            network: interface.network,
            mac: interface.mac,
            address,
        })
    });
    devices.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_writes_is_read() {
        let text = r#"{"interfaces":[
            {"network":"fast","mac":"02:00:00:00:00:05","deviceInfo":{"type":"pci","version":"1.1.0",
             "pci":{"pci-address":"0000:82:02.1"}}},
            {"network":"default","deviceInfo":null},
            {"network":"vdpa","deviceInfo":{"type":"vdpa","version":"1.1.0","vdpa":{"driver":"vhost"}}}]}"#;
        let devices = parse(text).unwrap().unwrap();
        assert_eq!(devices.len(), 3);
        assert_eq!(devices[0].network, "fast");
        assert_eq!(devices[0].mac.as_deref(), Some("02:00:00:00:00:05"));
        assert_eq!(
            devices[0]
                .address
                .map(|address| address.to_string())
                .as_deref(),
            Some("0000:82:02.1")
        );
        assert_eq!(devices[1].address, None);
        assert_eq!(devices[2].address, None);
    }

    #[test]
    fn nothing_written_yet_is_no_error() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("\n").unwrap(), None);
        assert_eq!(parse("{}").unwrap(), Some(Vec::new()));
    }

    #[test]
    fn what_is_not_the_controllers_is_an_error() {
        assert!(matches!(parse("[1]"), Err(BadNetworkInfo::Shape(_))));
        let text =
            r#"{"interfaces":[{"network":"fast","deviceInfo":{"pci":{"pci-address":"82:2"}}}]}"#;
        assert_eq!(
            parse(text).unwrap_err().to_string(),
            "network-info gives network `fast` the device `82:2`, which is no PCI address"
        );
    }
}

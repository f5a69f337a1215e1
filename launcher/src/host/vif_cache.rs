//! What virt-handler leaves for DHCP when it takes a pod's NIC (facts 7.4): `vif-cache-<link>.json`, as Go writes it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::Ipv4Net;
use numa::{FactError, HostRoot, file};
use serde::{Deserialize, Serialize};

use super::{Link, Route};
use crate::net::mac::MacAddr;
use crate::pod::PodPaths;

/// A link has a few dozen routes at most.
const LIMIT: usize = 1 << 20;

/// What a link had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VifCache {
    /// The guest's hardware address as virt-handler chose it.
    pub mac: Option<MacAddr>,
    /// Its address; none when the guest gets no DHCP.
    pub address: Option<Ipv4Net>,
    /// Its routes, but for that to its own network.
    pub routes: Vec<Route>,
}

/// The files of all `links`; a link without one is none of virt-handler's, or has another binding.
pub(super) fn read(
    root: &HostRoot,
    links: &[Link],
) -> Result<BTreeMap<String, VifCache>, FactError> {
    let mut caches = BTreeMap::new();
    for link in links {
        let path = root.at(&PodPaths::default().vif_cache(&link.name));
        let Some(text) = file::read(&path, LIMIT)? else {
            continue;
        };
        let cache = parse(&text)
            .ok_or_else(|| FactError::malformed(&path, &text, "virt-handler's DHCP facts"))?;
        caches.insert(link.name.clone(), cache);
    }
    Ok(caches)
}

/// `net.IPNet` of Go: the mask is bytes, thus base64.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpNet {
    #[serde(rename = "IP", default)]
    ip: String,
    #[serde(default)]
    mask: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoRoute {
    #[serde(default)]
    dst: Option<IpNet>,
    #[serde(default)]
    gw: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DhcpConfig {
    #[serde(rename = "IP", default)]
    ip: Option<IpNet>,
    #[serde(rename = "MAC", default)]
    mac: Option<String>,
    #[serde(default)]
    routes: Option<Vec<GoRoute>>,
    #[serde(rename = "IPAMDisabled", default)]
    ipam_disabled: bool,
}

fn parse(text: &str) -> Option<VifCache> {
    let config: DhcpConfig = serde_json::from_str(text).ok()?;
    let address = if config.ipam_disabled {
        None
    } else {
        Some(network(config.ip.as_ref()?)?)
    };
    let routes = config.routes.unwrap_or_default();
    let mac = match config.mac.filter(|mac| !mac.is_empty()) {
        Some(mac) => Some(MacAddr(bytes(&mac)?)),
        None => None,
    };
    Some(VifCache {
        mac,
        address,
        routes: routes.iter().map(route).collect::<Option<_>>()?,
    })
}

/// A route without a destination is the default route.
fn route(route: &GoRoute) -> Option<Route> {
    let destination = match &route.dst {
        Some(dst) => network(dst)?.trunc(),
        None => Ipv4Net::default(),
    };
    let gateway = match route.gw.as_str() {
        "" => None,
        gateway => Some(gateway.parse().ok()?),
    };
    Some(Route {
        destination,
        gateway,
    })
}

fn network(net: &IpNet) -> Option<Ipv4Net> {
    let mask: [u8; 4] = bytes(net.mask.as_deref()?)?;
    Ipv4Net::with_netmask(net.ip.parse().ok()?, Ipv4Addr::from(mask)).ok()
}

fn bytes<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As virt-handler of KubeVirt 1.9 writes it, less fields that are empty.
    const CALICO: &str = r#"{
      "Name": "",
      "IP": {"IP": "10.244.0.5", "Mask": "/////w==", "Label": "", "Flags": 0, "Scope": 0, "Peer": null, "Broadcast": "",
             "PreferedLft": 0, "ValidLft": 0, "LinkIndex": 0},
      "IPv6": {"Label": "", "Flags": 0, "Scope": 0, "Peer": null, "Broadcast": "", "PreferedLft": 0},
      "MAC": "AgAAAAAB", "AdvertisingIPAddr": "",
      "Routes": [{"LinkIndex": 0, "Dst": null, "Src": "", "Gw": "169.254.1.1"},
                 {"LinkIndex": 0, "Dst": {"IP": "169.254.1.1", "Mask": "/////w=="}, "Src": "", "Gw": ""}],
      "Mtu": 0, "IPAMDisabled": false, "Gateway": "169.254.1.1", "Subdomain": ""
    }"#;

    #[test]
    fn gos_json_is_read() {
        let cache = parse(CALICO).unwrap();
        assert_eq!(cache.mac.unwrap().to_string(), "02:00:00:00:00:01");
        assert_eq!(cache.address.unwrap().to_string(), "10.244.0.5/32");
        let gateway = Some(Ipv4Addr::new(169, 254, 1, 1));
        assert_eq!(
            cache.routes,
            [
                Route {
                    destination: "0.0.0.0/0".parse().unwrap(),
                    gateway
                },
                Route {
                    destination: "169.254.1.1/32".parse().unwrap(),
                    gateway: None
                },
            ]
        );
    }

    #[test]
    fn without_ipam_there_is_no_address() {
        let cache =
            parse(r#"{"IP": {"Peer": null}, "MAC": null, "Routes": null, "IPAMDisabled": true}"#);
        let cache = cache.unwrap();
        assert_eq!((cache.mac, cache.address), (None, None));
        assert!(cache.routes.is_empty());
    }

    #[test]
    fn what_is_not_its_form_is_not_guessed_at() {
        for text in [
            "",
            "[]",
            r#"{"IP": {"IP": "10.0.0.1", "Mask": "AA=="}}"#,
            r#"{"IP": {"IP": "10.0.0.1"}, "IPAMDisabled": false}"#,
            r#"{"MAC": "AAAA", "IPAMDisabled": true}"#,
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}

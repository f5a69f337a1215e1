//! Networks: what an interface is plugged into.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::given;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{Network, PodNetwork};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// A network that interfaces can name.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) path: Path,
    /// None: not the pod's network, and refused.
    pub(super) pod: Option<(Ipv4Net, Ipv6Net)>,
}

/// KubeVirt's default for `vmNetworkCIDR` and `vmIPv6NetworkCIDR` (facts 7.3).
pub(super) fn default_cidrs() -> (Ipv4Net, Ipv6Net) {
    (
        Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 2, 0), 24),
        Ipv6Net::new_assert(Ipv6Addr::new(0xfd10, 0, 2, 0, 0, 0, 0, 0), 120),
    )
}

/// Networks by name; each name is taken once, and the pod's network too.
pub(super) fn networks(written: &[Network], out: &mut Findings) -> HashMap<String, Behind> {
    let list = Path::of("spec.networks");
    let mut networks = HashMap::new();
    let mut pod: Option<Path> = None;
    for (index, network) in written.iter().enumerate() {
        let path = list.index(index);
        if network.pod.is_some() {
            if let Some(first) = &pod {
                out.refuse(
                    &path.key("pod"),
                    format!("the pod has one network, which `{first}` takes"),
                    "remove one of the two",
                );
            }
            pod.get_or_insert_with(|| path.clone());
        } else if !out.refused_within(&path) {
            out.refuse(
                &path,
                "it does not say which network it is",
                "add `pod: {}` for the pod's",
            );
        }
        let behind = Behind {
            pod: network
                .pod
                .as_ref()
                .map(|pod| cidrs(pod, &path.key("pod"), out)),
            path: path.clone(),
        };
        let at = path.key("name");
        match given(&network.name) {
            None => out.refuse(
                &at,
                "it is missing",
                "give the network the name of its interface",
            ),
            Some(name) if networks.contains_key(name) => {
                out.refuse(
                    &at,
                    format!("`{}` is there twice", shortened(name)),
                    "give each network its own name",
                );
            }
            Some(name) => {
                networks.insert(name.to_owned(), behind);
            }
        }
    }
    networks
}

fn cidrs(pod: &PodNetwork, at: &Path, out: &mut Findings) -> (Ipv4Net, Ipv6Net) {
    let (default4, default6) = default_cidrs();
    let cidr =
        given(&pod.vm_network_cidr).and_then(|text| ipv4(text, &at.key("vmNetworkCIDR"), out));
    let cidr6 = given(&pod.vm_ipv6_network_cidr)
        .and_then(|text| ipv6(text, &at.key("vmIPv6NetworkCIDR"), out));
    (cidr.unwrap_or(default4), cidr6.unwrap_or(default6))
}

/// A network for gateway and guest: at least two bits for hosts.
fn ipv4(text: &str, at: &Path, out: &mut Findings) -> Option<Ipv4Net> {
    let Ok(net) = text.parse::<Ipv4Net>() else {
        not_a_network(text, "IPv4", "10.0.2.0/24", at, out);
        return None;
    };
    let address = net.network();
    if net.addr() != address {
        host_bits(text, &net.trunc().to_string(), at, out);
    } else if net.prefix_len() > 30 {
        too_small(text, "/30", at, out);
    } else if net.prefix_len() < 8
        || address.octets()[0] == 0
        || address.is_loopback()
        || address.is_multicast()
        || address.is_link_local()
        || address.octets()[0] >= 240
    {
        unfit(text, "10.0.2.0/24", at, out);
    } else {
        return Some(net);
    }
    None
}

fn ipv6(text: &str, at: &Path, out: &mut Findings) -> Option<Ipv6Net> {
    let Ok(net) = text.parse::<Ipv6Net>() else {
        not_a_network(text, "IPv6", "fd10:0:2::/120", at, out);
        return None;
    };
    let address = net.network();
    if net.addr() != address {
        host_bits(text, &net.trunc().to_string(), at, out);
    } else if net.prefix_len() > 126 {
        too_small(text, "/126", at, out);
    } else if net.prefix_len() < 8
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
    {
        unfit(text, "fd10:0:2::/120", at, out);
    } else {
        return Some(net);
    }
    None
}

fn not_a_network(text: &str, family: &str, example: &str, at: &Path, out: &mut Findings) {
    out.refuse(
        at,
        format!("`{}` is not an {family} network", shortened(text)),
        format!("write it with its prefix, such as `{example}`"),
    );
}

fn host_bits(text: &str, network: &str, at: &Path, out: &mut Findings) {
    out.refuse(
        at,
        format!("`{text}` is an address within a network"),
        format!("did you mean `{network}`? The guest gets the second address of it"),
    );
}

fn too_small(text: &str, most: &str, at: &Path, out: &mut Findings) {
    out.refuse(
        at,
        format!("`{text}` has no room for a gateway and a guest"),
        format!("use `{most}` or larger"),
    );
}

fn unfit(text: &str, example: &str, at: &Path, out: &mut Findings) {
    out.refuse(
        at,
        format!("`{text}` is no network that guests can be in"),
        format!("use a private one such as `{example}`"),
    );
}

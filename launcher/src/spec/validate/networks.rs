//! Networks: what an interface is plugged into.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::given;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{MultusNetwork, Network, PodNetwork};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// A network that interfaces can name.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) path: Path,
    /// None: refused.
    pub(super) source: Option<Source>,
}

/// What a network is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `pod`, with the guest's networks behind NAT.
    Pod(Ipv4Net, Ipv6Net),
    /// `multus` in the place of the pod's.
    MultusDefault,
    /// `multus` besides it.
    Multus { definition: String, ordinal: usize },
}

/// KubeVirt's default for `vmNetworkCIDR` and `vmIPv6NetworkCIDR` (facts 7.3).
fn default_cidrs() -> (Ipv4Net, Ipv6Net) {
    (
        Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 2, 0), 24),
        Ipv6Net::new_assert(Ipv6Addr::new(0xfd10, 0, 2, 0, 0, 0, 0, 0), 120),
    )
}

/// Networks by name; each name is taken once, and the place of the pod's network too.
pub(super) fn networks(written: &[Network], out: &mut Findings) -> HashMap<String, Behind> {
    let list = Path::of("spec.networks");
    let mut networks = HashMap::new();
    let mut sources = Sources::default();
    for (index, network) in written.iter().enumerate() {
        let path = list.index(index);
        let behind = Behind {
            source: sources.read(network, &path, out),
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

/// What the networks read so far have taken.
#[derive(Default)]
struct Sources {
    /// Who is the pod's first network.
    primary: Option<Path>,
    secondaries: usize,
}

impl Sources {
    fn read(&mut self, network: &Network, path: &Path, out: &mut Findings) -> Option<Source> {
        match (&network.pod, &network.multus) {
            (Some(_), Some(_)) => {
                out.refuse(path, "it is both `pod` and `multus`", "keep one of the two");
                None
            }
            (Some(pod), None) => {
                self.primary(&path.key("pod"), out);
                let (cidr, cidr6) = cidrs(pod, &path.key("pod"), out);
                Some(Source::Pod(cidr, cidr6))
            }
            (None, Some(multus)) => self.multus(multus, &path.key("multus"), out),
            (None, None) => {
                if !out.refused_within(path) {
                    out.refuse(
                        path,
                        "it does not say which network it is",
                        "add `pod: {}` for the pod's, or `multus: {networkName: ...}`",
                    );
                }
                None
            }
        }
    }

    fn multus(&mut self, written: &MultusNetwork, at: &Path, out: &mut Findings) -> Option<Source> {
        if written.default {
            self.primary(&at.key("default"), out);
        } else {
            self.secondaries += 1;
        }
        let definition = definition(given(&written.network_name), &at.key("networkName"), out)?;
        Some(if written.default {
            Source::MultusDefault
        } else {
            Source::Multus {
                definition,
                ordinal: self.secondaries,
            }
        })
    }

    fn primary(&mut self, at: &Path, out: &mut Findings) {
        if let Some(first) = &self.primary {
            out.refuse(
                at,
                format!(
                    "the pod has one primary network, which `{}` takes",
                    first.parent()
                ),
                "remove one of the two",
            );
        } else {
            self.primary = Some(at.clone());
        }
    }
}

/// `name` or `namespace/name` of a NetworkAttachmentDefinition.
fn definition(text: Option<&str>, at: &Path, out: &mut Findings) -> Option<String> {
    let Some(text) = text else {
        out.refuse(
            at,
            "it is missing",
            "name a NetworkAttachmentDefinition, such as `blue-network`",
        );
        return None;
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
            })
    };
    let parts: Vec<_> = text.split('/').collect();
    if parts.len() > 2 || !parts.into_iter().all(is_name) {
        out.refuse(
            at,
            format!(
                "`{}` is not a name of a NetworkAttachmentDefinition",
                shortened(text)
            ),
            "write `name` or `namespace/name`, in lower-case letters, digits, `-` and `.`",
        );
        return None;
    }
    Some(text.to_owned())
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

//! Links of a tree that stands for a machine, from `sys/class/net` and `proc/net`.
//!
//! The machine's own links are read by netlink, which says more and cannot be out of step with the network
//! namespace; a fixture has only files. They leave out which link an IPv4 address is on: its on-link route tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use numa::file::{self, USUAL_LIMIT};
use numa::{FactError, HostRoot};

use super::{Link, Route};

/// `net/if.h`.
const IFF_UP: u32 = 0x1;
/// `linux/route.h`.
const RTF_UP: u32 = 0x1;
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x200;

/// Links by index, with what `root`'s files say of their addresses and routes.
pub fn links_from(root: &HostRoot) -> Result<Vec<Link>, FactError> {
    let mut links = Vec::new();
    for name in file::names(&root.sys("class/net"))? {
        links.extend(link(root, &name)?);
    }
    links.sort_by_key(|link| link.index);
    add_routes(root, &mut links)?;
    add_addresses(root, &mut links)?;
    add_addresses6(root, &mut links)?;
    Ok(links)
}

/// None for what is no link: `sys/class/net/bonding_masters` is a file among them.
fn link(root: &HostRoot, name: &str) -> Result<Option<Link>, FactError> {
    let at = |file: &str| root.sys(&format!("class/net/{name}/{file}"));
    let Some(index) = file::value(&at("ifindex"), "an interface's index")? else {
        return Ok(None);
    };
    let address: Option<String> = file::value(&at("address"), "an address")?;
    let flags_path = at("flags");
    let flags = match file::read(&flags_path, USUAL_LIMIT)? {
        Some(text) => hexadecimal(text.trim().trim_start_matches("0x"))
            .ok_or_else(|| FactError::malformed(&flags_path, &text, "flags such as `0x1003`"))?,
        None => 0,
    };
    Ok(Some(Link {
        index,
        name: name.to_owned(),
        // Tunnels have addresses of other lengths, or none.
        mac: address.and_then(|address| address.parse().ok()),
        mtu: file::value(&at("mtu"), "a number of bytes")?.unwrap_or(0),
        up: flags & IFF_UP != 0,
        controller: controller(root, name)?,
        addresses: Vec::new(),
        addresses6: Vec::new(),
        routes: Vec::new(),
    }))
}

/// `master` is a symbolic link to its bridge's directory.
fn controller(root: &HostRoot, name: &str) -> Result<Option<u32>, FactError> {
    let path = root.sys(&format!("class/net/{name}/master/ifindex"));
    file::value(&path, "an interface's index")
}

fn hexadecimal(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok()
}

/// `proc/net/route`: numbers are the address's bytes as this machine (little-endian) loads them.
fn add_routes(root: &HostRoot, links: &mut [Link]) -> Result<(), FactError> {
    let path = root.proc("net/route");
    let text = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let (name, flags, route) = route(line)
            .ok_or_else(|| FactError::malformed(&path, line, "a line of the routing table"))?;
        if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 {
            continue;
        }
        if let Some(link) = links.iter_mut().find(|link| link.name == name) {
            link.routes.push(route);
        }
    }
    Ok(())
}

fn route(line: &str) -> Option<(&str, u32, Route)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| {
        let number = hexadecimal(words.get(at)?)?;
        Some(Ipv4Addr::from(number.swap_bytes()))
    };
    let flags = hexadecimal(words.get(3)?)?;
    let destination = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
    let gateway = address(2)?;
    let route = Route {
        destination,
        gateway: (flags & RTF_GATEWAY != 0).then_some(gateway),
    };
    Some((words.first()?, flags, route))
}

/// `proc/net/fib_trie` lists the machine's own addresses as `/32 host LOCAL`.
fn add_addresses(root: &HostRoot, links: &mut [Link]) -> Result<(), FactError> {
    let path = root.proc("net/fib_trie");
    let text = file::read(&path, 16 * USUAL_LIMIT)?.unwrap_or_default();
    let mut leaf = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf =
                Some(address.parse().map_err(|_| {
                    FactError::malformed(&path, line, "a leaf with an IPv4 address")
                })?);
        } else if let Some(address) = leaf.filter(|_| line == "/32 host LOCAL") {
            place(address, links);
        }
    }
    Ok(())
}

/// On the link whose on-link route holds it most closely. A routed address (`/32`, as some CNIs give a pod) has no
/// such route: it belongs to the link of the default route.
fn place(address: Ipv4Addr, links: &mut [Link]) {
    let closest = |link: &Link| {
        let on_link =
            |route: &&Route| route.gateway.is_none() && route.destination.contains(&address);
        let routes = link.routes.iter().filter(on_link);
        routes.map(|route| route.destination.prefix_len()).max()
    };
    let found = links
        .iter_mut()
        .filter_map(|link| Some((closest(link).filter(|length| *length > 0)?, link)))
        .max_by_key(|(length, _)| *length);
    let (length, link) = match found {
        Some(found) => found,
        None if address.is_loopback() => match links.iter_mut().find(|link| link.name == "lo") {
            Some(link) => (8, link),
            None => return,
        },
        None => match links.iter_mut().find(|link| link.has_default_route()) {
            Some(link) => (32, link),
            None => return,
        },
    };
    if let Ok(address) = Ipv4Net::new(address, length)
        && !link.addresses.contains(&address)
    {
        link.addresses.push(address);
    }
}

/// `proc/net/if_inet6`: address, index, prefix length, scope, flags (all hexadecimal), name.
fn add_addresses6(root: &HostRoot, links: &mut [Link]) -> Result<(), FactError> {
    let path = root.proc("net/if_inet6");
    let text = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
    for line in text.lines() {
        let (name, address) = address6(line)
            .ok_or_else(|| FactError::malformed(&path, line, "a line of IPv6 addresses"))?;
        if let Some(link) = links.iter_mut().find(|link| link.name == name) {
            link.addresses6.push(address);
        }
    }
    Ok(())
}

fn address6(line: &str) -> Option<(&str, Ipv6Net)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, _, length, _, _, name] = words.as_slice() else {
        return None;
    };
    let address = u128::from_str_radix(address, 16).ok().map(Ipv6Addr::from)?;
    let length = u8::from_str_radix(length, 16).ok()?;
    Some((name, Ipv6Net::new(address, length).ok()?))
}

impl super::HostFacts {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

impl Link {
    /// It leads everywhere.
    pub fn has_default_route(&self) -> bool {
        let mut routes = self.routes.iter();
        routes.any(|route| route.destination.prefix_len() == 0)
    }

    /// Its default route's next hop, where it has one.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        let default = |route: &&Route| route.destination.prefix_len() == 0;
        self.routes.iter().find(default)?.gateway
    }

    /// All its addresses, without their prefixes.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let four = self.addresses.iter().map(|net| IpAddr::V4(net.addr()));
        four.chain(self.addresses6.iter().map(|net| IpAddr::V6(net.addr())))
    }
}

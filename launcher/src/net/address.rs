//! Addresses for the pods that a local run makes: one block of four a pod, of the shared address space.
//!
//! 100.64.0.0/10 is meant for neither homes nor clusters (RFC 6598), so it collides least. In IPv6 the same block is part
//! of a unique local prefix of our own (RFC 4193).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::error::NetError;
use super::mac::MacAddr;
use crate::host::Link;

/// Where blocks are taken from.
pub const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// What blocks are part of in IPv6; its 40 bits were drawn by lot.
pub const RANGE6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd7b, 0x93d1, 0x2c45, 0, 0, 0, 0, 0), 48);

/// Bits of a block's mask: network, machine's side, pod's side, broadcast.
const BLOCK_PREFIX: u8 = 30;

/// The four addresses of one local pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodBlock(Ipv4Net);

impl PodBlock {
    /// The block that starts at `network`.
    fn at(network: u32) -> Self {
        Self(Ipv4Net::new_assert(network.into(), BLOCK_PREFIX))
    }

    /// All four addresses.
    pub fn network(self) -> Ipv4Net {
        self.0
    }

    /// The machine's side, and the pod's gateway.
    pub fn host(self) -> Ipv4Net {
        self.host_number(1)
    }

    /// The pod's side.
    pub fn pod(self) -> Ipv4Net {
        self.host_number(2)
    }

    /// The machine's side in IPv6.
    pub fn host6(self) -> Ipv6Net {
        self.number6(1)
    }

    /// The pod's side in IPv6.
    pub fn pod6(self) -> Ipv6Net {
        self.number6(2)
    }

    /// The machine's end of the veth pair: `vl-` and the block's first address in eight hexadecimal digits.
    pub fn link_name(self) -> String {
        format!("vl-{:08x}", u32::from(self.0.addr()))
    }

    /// The same of the pod's other networks, counted from 1.
    pub fn other_link_name(self, number: usize) -> String {
        format!("{}-{number}", self.link_name())
    }

    /// The pod NIC's hardware address, local, made of the block's: unique on this machine.
    pub fn mac(self) -> MacAddr {
        let [a, b, c, d] = self.pod().addr().octets();
        MacAddr([0x02, 0x00, a, b, c, d])
    }

    /// The range, and in the last 32 bits the IPv4 address.
    fn number6(self, number: u32) -> Ipv6Net {
        let low = u128::from(u32::from(self.0.addr()) + number);
        let address = u128::from(RANGE6.network()) | low;
        Ipv6Net::new_assert(address.into(), 96 + BLOCK_PREFIX)
    }

    fn host_number(self, number: u32) -> Ipv4Net {
        Ipv4Net::new_assert((u32::from(self.0.addr()) + number).into(), BLOCK_PREFIX)
    }
}

/// The first block that no address, route or other pod of this machine uses.
///
/// `taken` are blocks that are promised but not yet seen on a link.
///
/// # Errors
///
/// [`NetError::NoFreeBlock`].
pub fn choose(links: &[Link], taken: &[Ipv4Net]) -> Result<PodBlock, NetError> {
    let mut used: Vec<Ipv4Net> = links.iter().flat_map(networks).collect();
    used.extend(taken);
    used.retain(|net| RANGE.contains(&net.network()) || net.contains(&RANGE));
    used.sort_by_key(|net| net.network());
    let mut next = u32::from(RANGE.network());
    for net in used {
        let after_block = u64::from(next) + 4;
        if u64::from(u32::from(net.network())) >= after_block {
            break;
        }
        next = next.max(past(net));
    }
    if next > u32::from(RANGE.broadcast()) {
        return Err(NetError::NoFreeBlock { range: RANGE });
    }
    Ok(PodBlock::at(next))
}

/// What a link uses: its addresses' networks and where its routes lead, but for the default route.
fn networks(link: &Link) -> impl Iterator<Item = Ipv4Net> {
    let addresses = link.addresses.iter().copied();
    let routes = link.routes.iter().map(|route| route.destination);
    addresses.chain(routes.filter(|net| net.prefix_len() > 0))
}

/// The first block's start behind `net`.
fn past(net: Ipv4Net) -> u32 {
    (u32::from(net.broadcast()) | 3).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::Route;

    fn link(addresses: &[&str], routes: &[&str]) -> Link {
        Link {
            index: 1,
            name: "eth0".into(),
            mac: None,
            mtu: 1500,
            up: true,
            controller: None,
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            addresses6: Vec::new(),
            routes: routes
                .iter()
                .map(|net| Route {
                    destination: net.parse().unwrap(),
                    gateway: None,
                })
                .collect(),
        }
    }

    fn chosen(links: &[Link], taken: &[&str]) -> String {
        let taken: Vec<_> = taken.iter().map(|net| net.parse().unwrap()).collect();
        choose(links, &taken).unwrap().network().to_string()
    }

    #[test]
    fn the_first_free_block_is_taken() {
        assert_eq!(chosen(&[], &[]), "100.64.0.0/30");
        assert_eq!(
            chosen(&[link(&["10.0.0.1/8"], &["0.0.0.0/0"])], &[]),
            "100.64.0.0/30"
        );
        assert_eq!(
            chosen(&[], &["100.64.0.0/30", "100.64.0.8/30"]),
            "100.64.0.4/30"
        );
        assert_eq!(
            chosen(&[link(&["100.64.0.5/30"], &[])], &["100.64.0.0/30"]),
            "100.64.0.8/30"
        );
        assert_eq!(
            chosen(&[link(&["100.64.0.3/32"], &["100.64.1.0/24"])], &[]),
            "100.64.0.4/30"
        );
        assert_eq!(
            chosen(&[link(&["100.64.0.9/16"], &[])], &[]),
            "100.65.0.0/30"
        );
        assert_eq!(
            chosen(&[link(&["100.64.0.9/16", "100.64.0.1/30"], &[])], &[]),
            "100.65.0.0/30"
        );
    }

    #[test]
    fn a_range_that_is_covered_has_no_block() {
        for net in ["100.64.0.0/10", "100.0.0.0/8"] {
            let error = choose(&[link(&[], &[net])], &[]).unwrap_err();
            assert!(matches!(error, NetError::NoFreeBlock { .. }), "{net}");
        }
    }

    #[test]
    fn a_block_names_its_ends() {
        let block = choose(&[], &[]).unwrap();
        assert_eq!(block.host().to_string(), "100.64.0.1/30");
        assert_eq!(block.pod().to_string(), "100.64.0.2/30");
        assert_eq!(block.host6().to_string(), "fd7b:93d1:2c45::6440:1/126");
        assert_eq!(block.pod6().to_string(), "fd7b:93d1:2c45::6440:2/126");
        assert_eq!(block.link_name(), "vl-64400000");
        assert_eq!(block.mac().to_string(), "02:00:64:40:00:02");
        assert!(block.other_link_name(99).len() <= 15);
    }

    proptest! {
        #[test]
        fn a_chosen_block_overlaps_nothing(nets in prop::collection::vec((0u32..1 << 12, 20u8..=32), 0..64)) {
            let taken: Vec<Ipv4Net> = nets
                .into_iter()
                .map(|(offset, prefix)| {
                    Ipv4Net::new(Ipv4Addr::from(u32::from(RANGE.network()) + offset), prefix).unwrap()
                })
                .collect();
            let block = choose(&[], &taken).unwrap().network();
            prop_assert!(RANGE.contains(&block));
            for net in taken {
                prop_assert!(!net.contains(&block) && !block.contains(&net.trunc()), "{net} {block}");
            }
        }
    }
}

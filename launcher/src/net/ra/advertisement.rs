//! A router advertisement's bytes.

use std::net::Ipv6Addr;

use crate::net::domain;
use crate::net::plan::Ipv6Plan;

/// ICMPv6 type (RFC 4861 4.2).
const ROUTER_ADVERTISEMENT: u8 = 134;
/// What the guest's packets start with; Linux's own default.
const HOP_LIMIT: u8 = 64;
/// Addresses and everything else come by DHCPv6: M and O (RFC 4861 4.2).
const MANAGED_AND_OTHER: u8 = 0b1100_0000;
/// RFC 8319 4: 65535 s, the most. The guest's pod is its only router for as long as it lives: the route must outlast
/// a supervisor that is away, and has no better one to give way to.
const ROUTER_LIFETIME: u16 = u16::MAX;
/// RFC 4861 4.6.2: infinity.
const FOREVER: u32 = u32::MAX;
/// The prefix is on the link (L); nobody makes addresses out of it (A is not set), which takes a /64.
const ON_LINK: u8 = 0b1000_0000;

/// Option types.
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;
/// An option's length counts these (RFC 4861 4.6).
const UNIT: usize = 8;
/// With these the whole message fits the least frame of IPv6, 1280 bytes (RFC 8200 5).
const MOST_SERVERS: usize = 16;
const LONGEST_NAMES: usize = 512;

/// The ICMPv6 message, its checksum left to the kernel (RFC 3542 3.1).
///
/// Written by hand: no crate of ours has both RFC 4861 and RFC 8106.
pub fn advertisement(plan: &Ipv6Plan) -> Vec<u8> {
    let mut bytes = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, MANAGED_AND_OTHER];
    bytes.extend(ROUTER_LIFETIME.to_be_bytes());
    // Reachable time and retransmission timer: not specified here.
    bytes.extend([0; 8]);
    option(&mut bytes, SOURCE_LINK_LAYER_ADDRESS, &[&plan.router.0]);
    option(
        &mut bytes,
        MTU,
        &[&[0, 0], plan.mtu.to_be_bytes().as_slice()],
    );
    prefix(&mut bytes, plan);
    resolver(&mut bytes, plan);
    bytes
}

fn prefix(bytes: &mut Vec<u8>, plan: &Ipv6Plan) {
    let forever = FOREVER.to_be_bytes();
    let network = plan.address.network().octets();
    let head = [plan.address.prefix_len(), ON_LINK];
    // Valid and preferred lifetime, four reserved bytes (RFC 4861 4.6.2).
    let parts: [&[u8]; 5] = [&head, &forever, &forever, &[0; 4], &network];
    option(bytes, PREFIX_INFORMATION, &parts);
}

/// RFC 8106, for guests that take their name servers from here. It lives as long as the router.
fn resolver(bytes: &mut Vec<u8>, plan: &Ipv6Plan) {
    let lifetime = u32::from(ROUTER_LIFETIME).to_be_bytes();
    let servers = plan.nameservers.iter().take(MOST_SERVERS);
    let servers: Vec<u8> = servers.flat_map(Ipv6Addr::octets).collect();
    if !servers.is_empty() {
        option(bytes, RDNSS, &[&[0, 0], &lifetime, &servers]);
    }
    let mut room = LONGEST_NAMES;
    let names = plan.search.iter().filter_map(|name| domain::wire(name));
    let names = names.take_while(|name| {
        room = room.saturating_sub(name.len());
        room > 0
    });
    let names: Vec<u8> = names.flatten().collect();
    if !names.is_empty() {
        option(bytes, DNSSL, &[&[0, 0], &lifetime, &names]);
    }
}

/// Type, length, and the parts, filled up with zeros.
fn option(bytes: &mut Vec<u8>, code: u8, parts: &[&[u8]]) {
    let length: usize = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    let units = length.div_ceil(UNIT);
    let end = bytes.len() + units * UNIT;
    // The bounds above keep it far below.
    bytes.extend([code, u8::try_from(units).unwrap_or(u8::MAX)]);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.resize(end, 0);
}

//! One plan, and clients in every state of RFC 8415.

use std::net::Ipv6Addr;

use crate::net::mac::MacAddr;
use crate::net::plan::Ipv6Plan;

mod decisions;
mod hostile;
mod wire;

const OURS: Ipv6Addr = Ipv6Addr::new(0xfd10, 0, 2, 0, 0, 0, 0, 2);
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfd10, 0, 2, 0, 0, 0, 0, 7);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
const CLIENT: &[u8] = &[0, 1, 0, 1, 9, 9, 9, 9, 2, 0, 0, 0, 0, 9];
const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0];

fn plan() -> Ipv6Plan {
    Ipv6Plan {
        link: "k6t-eth0".to_owned(),
        router: MacAddr([2, 0, 0, 0, 0, 0]),
        address: "fd10:0:2::2/120".parse().unwrap(),
        gateway: Ipv6Addr::new(0xfd10, 0, 2, 0, 0, 0, 0, 1),
        nameservers: vec![Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xa)],
        search: ["default.svc.cluster.local", "cluster.local"]
            .map(str::to_owned)
            .to_vec(),
        mtu: 1450,
        advertised: true,
    }
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes(), &length.to_be_bytes(), value].concat()
}

/// An association as a client sends it: number, times of 0, addresses.
fn association(code: u16, iaid: u32, addresses: &[Ipv6Addr]) -> Vec<u8> {
    let times: &[u8] = if code == 4 { &[] } else { &[0; 8] };
    let mut value = [&iaid.to_be_bytes(), times].concat();
    for address in addresses {
        value.extend(option(5, &[&address.octets()[..], &[0; 8]].concat()));
    }
    option(code, &value)
}

/// A datagram as a client sends it.
fn datagram(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    [&[kind, 0xab, 0xcd, 0xef], options.concat().as_slice()].concat()
}

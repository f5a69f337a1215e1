//! One plan and one client, seen from every state of RFC 2131.

use std::net::Ipv4Addr;

use crate::net::mac::MacAddr;
use crate::net::plan::DhcpPlan;
use crate::spec::nic::DhcpOptions;

mod decisions;
mod hostile;
mod wire;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

fn plan() -> DhcpPlan {
    DhcpPlan {
        link: "k6t-eth0".to_owned(),
        client: MAC,
        address: "10.0.2.2/24".parse().unwrap(),
        server: SERVER,
        router: Some(SERVER),
        nameservers: vec![Ipv4Addr::new(10, 96, 0, 10)],
        hostname: "demo".to_owned(),
        search: [
            "default.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
        ]
        .map(str::to_owned)
        .to_vec(),
        mtu: 1450,
        routes: vec![("0.0.0.0/0".parse().unwrap(), SERVER)],
        options: DhcpOptions::default(),
    }
}

/// A datagram as a client sends it: options in the given order, and the end.
fn datagram(ciaddr: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
    bytes[12..16].copy_from_slice(&ciaddr.octets());
    bytes[28..34].copy_from_slice(&MAC.0);
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    for (code, value) in options {
        bytes.push(*code);
        bytes.push(u8::try_from(value.len()).unwrap());
        bytes.extend_from_slice(value);
    }
    bytes.push(255);
    bytes
}

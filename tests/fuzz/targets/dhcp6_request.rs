//! What a guest sends to port 547: read, decided, answered and encoded without a panic and within the least frame.

#![no_main]

use launcher::net::dhcp6::{Request, answer};
use launcher::net::mac::MacAddr;
use launcher::net::plan::Ipv6Plan;
use libfuzzer_sys::fuzz_target;

fn plan() -> Ipv6Plan {
    Ipv6Plan {
        link: "k6t-eth0".to_owned(),
        router: MacAddr([2, 0, 0, 0, 0, 0]),
        address: "fd10:0:2::2/120".parse().expect("a network"),
        gateway: "fd10:0:2::1".parse().expect("an address"),
        nameservers: vec!["fd00::a".parse().expect("an address"); 16],
        search: (0..8).map(|n| format!("namespace-{n}.svc.cluster.local")).collect(),
        mtu: 1450,
        advertised: true,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut request) = Request::parse(bytes) else {
        return;
    };
    // The fuzzer need not guess our identifier.
    if let Some(id) = &mut request.server_id {
        *id = vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 0];
    }
    if let Some(reply) = answer(&plan(), &request) {
        let bytes = reply.encode().expect("every planned option has a form");
        assert!((4..=1232).contains(&bytes.len()), "{} bytes", bytes.len());
    }
});

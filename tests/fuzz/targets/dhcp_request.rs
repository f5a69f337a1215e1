//! What a guest sends to port 67: read, decided, answered and encoded without a panic and within one frame.

#![no_main]

use launcher::net::dhcp::{Request, answer};
use launcher::net::mac::MacAddr;
use launcher::net::plan::DhcpPlan;
use launcher::spec::nic::DhcpOptions;
use libfuzzer_sys::fuzz_target;

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn plan() -> DhcpPlan {
    DhcpPlan {
        link: "k6t-eth0".to_owned(),
        client: CLIENT,
        address: "10.0.2.2/24".parse().expect("a network"),
        server: [10, 0, 2, 1].into(),
        router: Some([10, 0, 2, 1].into()),
        nameservers: vec![[10, 96, 0, 10].into()],
        hostname: "guest".to_owned(),
        search: (0..12).map(|n| format!("namespace-{n}.svc.cluster.local")).collect(),
        mtu: 1450,
        routes: vec![("0.0.0.0/0".parse().expect("a network"), [10, 0, 2, 1].into())],
        options: DhcpOptions {
            private_options: vec![(224, "x".repeat(300))],
            ..DhcpOptions::default()
        },
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut request) = Request::parse(bytes) else {
        return;
    };
    // The fuzzer need not guess our MAC.
    request.chaddr = CLIENT;
    if let Some(reply) = answer(&plan(), &request) {
        let bytes = reply.encode().expect("every planned option has a form");
        assert!((300..=1422).contains(&bytes.len()), "{} bytes", bytes.len());
    }
});

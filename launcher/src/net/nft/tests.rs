use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::net::mac::MacAddr;
use crate::net::plan::{
    BridgePlan, Istio, Masquerade, NetworkPlan, NicPlan, Setup, TapPlan, Wiring,
};
use crate::spec::nic::{Port, Protocol};

fn port(port: u16, protocol: Protocol) -> Port {
    Port {
        port,
        last: port,
        protocol,
        name: None,
    }
}

fn plan(gateway: Ipv4Net, guest: Ipv4Net, v6: bool, ports: Vec<Port>) -> NetworkPlan {
    let v6 = |net: &str| v6.then(|| net.parse::<Ipv6Net>().unwrap());
    NetworkPlan {
        nics: vec![NicPlan {
            name: "default".into(),
            pod_link: "eth0".into(),
            setup: Setup::Made,
            guest_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            tap: TapPlan {
                name: "tap0".into(),
                queues: 1,
                vhost: false,
            },
            bridge: BridgePlan {
                name: "k6t-eth0".into(),
                mac: MacAddr([2, 0, 0, 0, 0, 0]),
                address: Some(gateway),
                address6: v6("fd10:0:2::1/120"),
            },
            wiring: Wiring::Masquerade(Masquerade {
                guest: Some(guest),
                guest6: v6("fd10:0:2::2/120"),
                ports,
                istio: None,
            }),
            dhcp: None,
            ipv6: None,
        }],
    }
}

fn usual(v6: bool, ports: Vec<Port>) -> NetworkPlan {
    plan(
        "10.0.2.1/24".parse().unwrap(),
        "10.0.2.2/24".parse().unwrap(),
        v6,
        ports,
    )
}

fn json_of(plan: &NetworkPlan, family: Family) -> Value {
    let objects = table(plan, family).unwrap();
    serde_json::to_value(transaction(vec![(family, objects)])).unwrap()
}

#[test]
fn without_ports_everything_is_forwarded() {
    insta::assert_json_snapshot!(json_of(&usual(false, Vec::new()), Family::V4));
}

#[test]
fn with_ports_only_those_are_forwarded() {
    let ports = vec![
        port(443, Protocol::Tcp),
        port(80, Protocol::Tcp),
        port(53, Protocol::Udp),
        port(80, Protocol::Tcp),
    ];
    insta::assert_json_snapshot!(json_of(&usual(false, ports), Family::V4));
}

#[test]
fn ipv6_has_its_own_table() {
    insta::assert_json_snapshot!(json_of(&usual(true, Vec::new()), Family::V6));
}

#[test]
fn ranges_are_joined_as_nft_lists_them() {
    let range = |first, last, protocol| Port {
        last,
        ..port(first, protocol)
    };
    let ports = vec![
        range(8000, 8010, Protocol::Tcp),
        range(8005, 8020, Protocol::Tcp),
        range(8021, 8021, Protocol::Tcp),
        port(22, Protocol::Tcp),
        range(5000, 6000, Protocol::Udp),
    ];
    let transaction = json_of(&usual(false, ports), Family::V4);
    let right = |rule: &[Value]| rule[1]["match"]["right"].clone();
    let inbound: Vec<_> = rules(&transaction, "prerouting")
        .iter()
        .map(|rule| right(rule))
        .collect();
    assert_eq!(inbound[0], json!({"set": [22, {"range": [8000, 8021]}]}));
    assert_eq!(inbound[1], json!({"range": [5000, 6000]}));
}

fn behind_istio(ports: Vec<Port>) -> Value {
    let mut plan = usual(false, ports);
    let Wiring::Masquerade(nat) = &mut plan.nics[0].wiring else {
        unreachable!("it is masqueraded")
    };
    nat.istio = Some(Istio {
        pod: Some(Ipv4Addr::new(10, 244, 0, 5)),
    });
    json_of(&plan, Family::V4)
}

#[test]
fn istios_proxy_gets_everything_but_ssh() {
    insta::assert_json_snapshot!(behind_istio(Vec::new()));
    let listed = behind_istio(vec![port(80, Protocol::Tcp)]);
    assert!(rules(&listed, "prerouting").is_empty());
    let listed = behind_istio(vec![port(22, Protocol::Tcp), port(22, Protocol::Udp)]);
    assert_eq!(rules(&listed, "prerouting").len(), 2);
}

#[test]
fn what_others_have_made_is_not_made_again() {
    let mut plan = usual(true, Vec::new());
    plan.nics[0].setup = Setup::Found;
    assert!(table(&plan, Family::V4).is_none() && table(&plan, Family::V6).is_none());
}

#[test]
fn a_family_without_a_guest_has_no_table() {
    assert!(table(&usual(false, Vec::new()), Family::V6).is_none());
    assert!(table(&NetworkPlan::default(), Family::V4).is_none());
}

/// The statements of every rule in `chain`.
fn rules<'a>(transaction: &'a Value, chain: &str) -> Vec<&'a Vec<Value>> {
    transaction["nftables"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|object| object["add"].get("rule"))
        .filter(|rule| rule["chain"] == chain)
        .map(|rule| rule["expr"].as_array().unwrap())
        .collect()
}

/// The ports that `rule` is narrowed to, by protocol.
fn ports_of(rule: &[Value]) -> Option<(String, Vec<u64>)> {
    rule.iter().find_map(|statement| {
        let field = statement["match"]["left"].get("payload")?;
        if field["field"] != "dport" {
            return None;
        }
        let right = &statement["match"]["right"];
        let numbers = match right.get("set") {
            Some(set) => set.as_array()?.iter().filter_map(Value::as_u64).collect(),
            None => vec![right.as_u64()?],
        };
        Some((field["protocol"].as_str()?.to_owned(), numbers))
    })
}

fn any_port() -> impl Strategy<Value = Port> {
    (
        1u16..,
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
    )
        .prop_map(|(number, protocol)| port(number, protocol))
}

proptest! {
    #[test]
    fn every_port_is_in_the_rules_once_and_no_other(ports in prop::collection::vec(any_port(), 1..40)) {
        let transaction = json_of(&usual(false, ports.clone()), Family::V4);
        let mut wanted: Vec<(String, u64)> = ports
            .iter()
            .map(|port| {
                let protocol = if port.protocol == Protocol::Tcp { "tcp" } else { "udp" };
                (protocol.to_owned(), port.port.into())
            })
            .collect();
        wanted.sort();
        wanted.dedup();
        let mut found = Vec::new();
        for rule in rules(&transaction, "output") {
            let (protocol, numbers) = ports_of(rule).unwrap();
            prop_assert!(numbers.is_sorted());
            found.extend(numbers.into_iter().map(|number| (protocol.clone(), number)));
        }
        found.sort();
        prop_assert_eq!(&found, &wanted);
        // From outside, and from the guest itself.
        prop_assert_eq!(rules(&transaction, "prerouting").len(), 2 * rules(&transaction, "output").len());
    }

    #[test]
    fn addresses_are_written_as_they_are(network in any::<u32>(), prefix in 8u8..=30) {
        let net = Ipv4Net::new(Ipv4Addr::from(network), prefix).unwrap().trunc();
        let host = |number| {
            Ipv4Net::new(Ipv4Addr::from(u32::from(net.addr()) + number), prefix).unwrap()
        };
        let transaction = json_of(&plan(host(1), host(2), false, Vec::new()), Family::V4);
        let (gateway, guest) = (host(1).addr().to_string(), host(2).addr().to_string());
        for chain in ["prerouting", "output"] {
            for rule in rules(&transaction, chain) {
                prop_assert_eq!(rule.last().unwrap(), &json!({ "dnat": { "addr": &guest } }));
            }
        }
        let postrouting = rules(&transaction, "postrouting");
        prop_assert_eq!(&postrouting[0][0]["match"]["right"], &json!(&guest));
        prop_assert_eq!(postrouting[1].last().unwrap(), &json!({ "snat": { "addr": &gateway } }));
    }
}

/// As nft 1.0.6 echoes it: each object with the kernel's handle, a created table with it beside.
#[test]
fn what_the_kernel_has_made_has_a_handle() {
    let echo = json!({"nftables": [
        {"create": {"table": {"family": "ip", "name": TABLE}, "handle": 1}},
        {"add": {"chain": {"family": "ip", "table": TABLE, "name": "guard", "handle": 1}}},
        {"add": {"rule": {"family": "ip", "table": TABLE, "chain": "guard", "expr": [], "handle": 2}}},
        {"add": {"rule": {"family": "ip", "table": TABLE, "chain": "guard", "expr": []}}},
    ]});
    assert_eq!(run::confirmed(&echo), 2);
    assert_eq!(run::confirmed(&Value::Null), 0);
}

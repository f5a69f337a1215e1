use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::net::mac::MacAddr;
use crate::net::plan::{BridgePlan, Masquerade, NetworkPlan, NicPlan, TapPlan};
use crate::spec::nic::{Port, Protocol};

fn port(port: u16, protocol: Protocol) -> Port {
    Port {
        port,
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
            masquerade: Masquerade {
                guest: Some(guest),
                guest6: v6("fd10:0:2::2/120"),
                ports,
            },
            dhcp: None,
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

//! What goes out, read back by another decoder. It joins no split options, so the splits are read by hand.

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};
use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;
use crate::net::dhcp::answer::answer;
use crate::net::dhcp::options::LEASE_SECONDS;
use crate::net::dhcp::request::Request;
use crate::net::domain;

fn offer(plan: &DhcpPlan) -> Vec<u8> {
    let bytes = datagram(
        Ipv4Addr::UNSPECIFIED,
        &[(53, &[1]), (57, &u16::MAX.to_be_bytes())],
    );
    let reply = answer(plan, &Request::parse(&bytes).unwrap()).unwrap();
    reply.encode().unwrap()
}

fn decode(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

/// The options as they stand on the wire, one entry a part.
fn parts(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut field = &bytes[240..];
    let mut parts = Vec::new();
    while field[0] != 255 {
        let end = 2 + usize::from(field[1]);
        parts.push((field[0], field[2..end].to_vec()));
        field = &field[end..];
    }
    parts
}

fn joined(bytes: &[u8], code: u8) -> Vec<u8> {
    let parts = parts(bytes).into_iter().filter(|(found, _)| *found == code);
    parts.flat_map(|(_, value)| value).collect()
}

#[test]
fn an_offer_byte_by_byte() {
    let bytes = offer(&plan());
    let message = decode(&bytes);
    assert_eq!(message.opcode(), Opcode::BootReply);
    assert_eq!(message.chaddr(), MAC.0);
    assert_eq!((message.yiaddr(), message.xid()), (OURS, 0xdead_beef));
    let options = message.opts();
    assert_eq!(options.msg_type(), Some(MessageType::Offer));
    let expected = [
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::AddressLeaseTime(86_313_600),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::Router(vec![SERVER]),
        DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 96, 0, 10)]),
        DhcpOption::InterfaceMtu(1450),
        DhcpOption::Hostname("demo".to_owned()),
        DhcpOption::DomainName("default.svc.cluster.local".to_owned()),
        DhcpOption::ClasslessStaticRoute(vec![("0.0.0.0/0".parse().unwrap(), SERVER)]),
    ];
    for option in expected {
        assert_eq!(options.get(OptionCode::from(&option)), Some(&option));
    }
    assert_eq!(LEASE_SECONDS, 86_313_600);
    let Some(DhcpOption::DomainSearch(names)) = options.get(OptionCode::DomainSearch) else {
        panic!("no search list");
    };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "default.svc.cluster.local.",
            "svc.cluster.local.",
            "cluster.local."
        ]
    );
}

#[test]
fn the_first_of_the_longest_domains_is_the_domain() {
    let mut plan = plan();
    plan.search = ["ab.c", "first.example", "other.example"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(joined(&offer(&plan), 15), b"first.example");
}

#[test]
fn a_short_reply_is_padded_behind_its_end() {
    let bytes = datagram(OTHER, &[(53, &[3])]);
    let reply = answer(&plan(), &Request::parse(&bytes).unwrap()).unwrap();
    let bytes = reply.encode().unwrap();
    assert_eq!(bytes.len(), 300);
    assert_eq!(decode(&bytes).opts().msg_type(), Some(MessageType::Nak));
    assert_eq!(parts(&bytes).len(), 3);
    assert!(
        bytes[265..].iter().all(|byte| *byte == 0),
        "{:?}",
        &bytes[240..]
    );
}

#[test]
fn the_search_list_has_no_pointers() {
    let list = domain::list(&["a.bc".to_owned(), "bc.".to_owned()]);
    assert_eq!(list, b"\x01a\x02bc\x00\x02bc\x00");
}

#[test]
fn names_without_a_dns_form_are_left_out() {
    let long_label = "x".repeat(64);
    let long_name = vec!["x".repeat(50); 5].join(".");
    for name in ["", ".", "a..b", ".a", &long_label, &long_name] {
        assert!(domain::list(&[name.to_owned()]).is_empty(), "{name:?}");
    }
    assert_eq!(domain::list(&["x".repeat(63)]).len(), 65);
}

#[test]
fn the_default_route_comes_last() {
    let mut plan = plan();
    let on_link = Ipv4Addr::UNSPECIFIED;
    plan.routes = vec![
        ("0.0.0.0/0".parse().unwrap(), SERVER),
        ("10.99.7.9/15".parse().unwrap(), on_link),
    ];
    let field = joined(&offer(&plan), 121);
    assert_eq!(field, [15, 10, 98, 0, 0, 0, 0, 0, 10, 0, 2, 1]);
}

#[test]
fn a_long_search_list_is_split_and_joins_again() {
    let mut plan = plan();
    plan.search = (0..20)
        .map(|n| format!("namespace-{n}.svc.cluster.example"))
        .collect();
    let bytes = offer(&plan);
    let lengths: Vec<_> = parts(&bytes)
        .into_iter()
        .filter_map(|(code, value)| (code == 119).then_some(value.len()))
        .collect();
    assert_eq!(lengths, [255, 255, 160]);
    assert_eq!(joined(&bytes, 119), domain::list(&plan.search));
}

prop_compose! {
    fn any_plan()(
        address in any::<[u8; 4]>(),
        prefix in 1_u8..=32,
        mtu in 1300_u16..9000,
        router in proptest::option::of(any::<[u8; 4]>()),
        nameservers in proptest::collection::vec(any::<[u8; 4]>(), 0..5),
        hostname in "[a-z0-9-]{0,63}",
        search in proptest::collection::vec("[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}", 0..5),
        routes in proptest::collection::vec((any::<[u8; 4]>(), 0_u8..=32, any::<[u8; 4]>()), 0..6),
        private_options in proptest::collection::btree_map(224_u8..=254, "\\PC{1,20}", 0..3),
    ) -> DhcpPlan {
        DhcpPlan {
            address: Ipv4Net::new(address.into(), prefix).unwrap(),
            mtu,
            router: router.map(Ipv4Addr::from),
            nameservers: nameservers.into_iter().map(Ipv4Addr::from).collect(),
            hostname,
            search,
            routes: routes
                .into_iter()
                .map(|(to, prefix, via)| (Ipv4Net::new(to.into(), prefix).unwrap(), via.into()))
                .collect(),
            options: DhcpOptions {
                private_options: private_options.into_iter().collect(),
                ..DhcpOptions::default()
            },
            ..plan()
        }
    }
}

proptest! {
    #[test]
    fn what_is_planned_is_what_a_client_reads(plan in any_plan()) {
        let bytes = offer(&plan);
        let message = decode(&bytes);
        let options = message.opts();
        prop_assert_eq!(message.yiaddr(), plan.address.addr());
        prop_assert_eq!(
            options.get(OptionCode::SubnetMask),
            Some(&DhcpOption::SubnetMask(plan.address.netmask()))
        );
        prop_assert_eq!(
            options.get(OptionCode::Router).cloned(),
            plan.router.map(|router| DhcpOption::Router(vec![router]))
        );
        prop_assert_eq!(
            options.get(OptionCode::DomainNameServer).cloned(),
            (!plan.nameservers.is_empty()).then(|| DhcpOption::DomainNameServer(plan.nameservers.clone()))
        );
        prop_assert_eq!(joined(&bytes, 12), plan.hostname.as_bytes());
        prop_assert_eq!(joined(&bytes, 119), domain::list(&plan.search));
        let mut routes: Vec<_> = plan.routes.iter().map(|(to, via)| (to.trunc(), *via)).collect();
        routes.sort_by_key(|(to, _)| to.prefix_len() == 0);
        prop_assert_eq!(
            options.get(OptionCode::ClasslessStaticRoute).cloned(),
            (!routes.is_empty()).then_some(DhcpOption::ClasslessStaticRoute(routes))
        );
        for (code, value) in &plan.options.private_options {
            prop_assert_eq!(joined(&bytes, *code), value.as_bytes());
        }
    }
}

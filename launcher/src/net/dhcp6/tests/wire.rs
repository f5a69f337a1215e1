//! What goes out, read back by another decoder.

use dhcproto::v6::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder};
use proptest::prelude::*;

use super::*;
use crate::net::dhcp6::answer::answer;
use crate::net::dhcp6::request::Request;

fn encoded(plan: &Ipv6Plan, kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    let request = Request::parse(&datagram(kind, options)).unwrap();
    answer(plan, &request).unwrap().encode().unwrap()
}

#[test]
fn an_advertisement_byte_by_byte() {
    let mut plan = plan();
    plan.search = vec!["a.bc".to_owned()];
    let bytes = encoded(&plan, 1, &[option(1, &[0, 3, 9]), association(3, 7, &[])]);
    #[rustfmt::skip]
    let expected = [
        &[2, 0xab, 0xcd, 0xef][..],
        &[0, 1, 0, 3, 0, 3, 9],
        &[0, 2, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 0],
        &[0, 3, 0, 40, 0, 0, 0, 7], &43_156_800_u32.to_be_bytes(), &69_050_880_u32.to_be_bytes(),
        &[0, 5, 0, 24], &OURS.octets(), &86_313_600_u32.to_be_bytes(), &86_313_600_u32.to_be_bytes(),
        &[0, 7, 0, 1, 255],
        &[0, 23, 0, 16], &plan.nameservers[0].octets(),
        &[0, 24, 0, 6, 1, b'a', 2, b'b', b'c', 0],
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn another_decoder_reads_the_search_list() {
    let bytes = encoded(&plan(), 11, &[]);
    let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
    assert_eq!(message.msg_type(), MessageType::Reply);
    let Some(DhcpOption::DomainSearchList(names)) =
        message.opts().get(OptionCode::DomainSearchList)
    else {
        panic!("no search list in {message:?}");
    };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["default.svc.cluster.local.", "cluster.local."]);
}

proptest! {
    #[test]
    fn every_plan_is_read_back(
        prefix in 8_u8..=126,
        servers in proptest::collection::vec(any::<u128>(), 0..16),
        client in proptest::collection::vec(any::<u8>(), 3..=130),
        iaid: u32,
        kind in prop_oneof![Just(1_u8), Just(6)],
    ) {
        let mut plan = plan();
        plan.address = ipnet::Ipv6Net::new(OURS, prefix).unwrap();
        plan.nameservers = servers.into_iter().map(Ipv6Addr::from).collect();
        let bytes = encoded(&plan, kind, &[option(1, &client), association(3, iaid, &[])]);
        let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
        let options = message.opts();
        prop_assert_eq!(options.get(OptionCode::ClientId), Some(&DhcpOption::ClientId(client)));
        let Some(DhcpOption::IANA(na)) = options.get(OptionCode::IANA) else {
            panic!("no address in {message:?}");
        };
        prop_assert_eq!(na.id, iaid);
        let Some(DhcpOption::IAAddr(address)) = na.opts.get(OptionCode::IAAddr) else {
            panic!("no address in {message:?}");
        };
        prop_assert_eq!(address.addr, OURS);
        let read = match options.get(OptionCode::DomainNameServers) {
            Some(DhcpOption::DomainNameServers(servers)) => servers.clone(),
            _ => Vec::new(),
        };
        prop_assert_eq!(read, plan.nameservers);
    }
}

//! What is read, what is sent, and when.

use std::net::Ipv6Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::advertisement::advertisement;
use super::schedule::Schedule;
use super::solicitation::{Ignored, Solicitation};
use crate::net::mac::MacAddr;
use crate::net::plan::Ipv6Plan;

const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 9);
const NONE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

fn plan() -> Ipv6Plan {
    Ipv6Plan {
        link: "k6t-eth0".to_owned(),
        router: MacAddr([2, 0, 0, 0, 0, 1]),
        address: "fd10:0:2::2/120".parse().unwrap(),
        gateway: "fd10:0:2::1".parse().unwrap(),
        nameservers: vec!["fd00::a".parse().unwrap(), "fd00::b".parse().unwrap()],
        search: vec!["a.bc".to_owned(), "cluster.local".to_owned()],
        mtu: 1450,
        advertised: true,
    }
}

#[test]
fn an_advertisement_byte_by_byte() {
    #[rustfmt::skip]
    let expected = [
        // Type, code, checksum; hop limit, M and O, router lifetime; two timers.
        &[134, 0, 0, 0, 64, 0xc0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 1, 2, 0, 0, 0, 0, 1],
        &[5, 1, 0, 0, 0, 0, 5, 170],
        // Prefix: on-link and no more, for ever.
        &[3, 4, 120, 0x80, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
        &[0xfd, 0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[25, 5, 0, 0, 0, 0, 255, 255],
        &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
        &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11],
        &[31, 4, 0, 0, 0, 0, 255, 255, 1, b'a', 2, b'b', b'c', 0],
        b"\x07cluster\x05local\0\0\0\0",
    ]
    .concat();
    assert_eq!(advertisement(&plan()), expected);
}

#[test]
fn nothing_known_is_nothing_sent() {
    let mut plan = plan();
    plan.nameservers.clear();
    plan.search.clear();
    assert_eq!(advertisement(&plan).len(), 16 + 8 + 8 + 32);
}

fn solicitation(options: &[u8]) -> Vec<u8> {
    [&[133, 0, 0x12, 0x34, 0, 0, 0, 0], options].concat()
}

const MINE: &[u8] = &[1, 1, 2, 0, 0, 0, 0, 9];

#[test]
fn a_host_asks_with_and_without_an_address() {
    for options in [
        &[][..],
        MINE,
        &[
            14, 1, 1, 2, 3, 4, 5, 6, 200, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ] {
        let read = Solicitation::parse(&solicitation(options), HOST, Some(255));
        assert_eq!(read, Ok(Solicitation { from: Some(HOST) }));
    }
    let read = Solicitation::parse(&solicitation(&[]), NONE, Some(255));
    assert_eq!(read, Ok(Solicitation { from: None }));
}

#[test]
fn refuses_with_reasons() {
    let parse = |bytes: &[u8], source, hops| Solicitation::parse(bytes, source, hops).unwrap_err();
    let good = solicitation(MINE);
    assert_eq!(
        parse(&good[..7], HOST, Some(255)),
        Ignored::Short { length: 7 }
    );
    for (kind, code) in [(134, 0), (133, 1), (0, 0)] {
        let mut other = good.clone();
        other[..2].copy_from_slice(&[kind, code]);
        assert_eq!(
            parse(&other, HOST, Some(255)),
            Ignored::OtherMessage { kind, code }
        );
    }
    for hop_limit in [None, Some(254), Some(0)] {
        assert_eq!(
            parse(&good, HOST, hop_limit),
            Ignored::HopLimit { hop_limit }
        );
    }
    let global: Ipv6Addr = "fd10:0:2::2".parse().unwrap();
    assert_eq!(
        parse(&good, global, Some(255)),
        Ignored::NotOnLink {
            source_address: global
        }
    );
    assert_eq!(parse(&good, NONE, Some(255)), Ignored::Anonymous);
    for (options, code) in [
        (&[1, 0, 0, 0, 0, 0, 0, 0][..], 1),
        (&[1, 2, 0, 0, 0, 0, 0, 0], 1),
        (&[7], 7),
    ] {
        assert_eq!(
            parse(&solicitation(options), HOST, Some(255)),
            Ignored::BadOption { code }
        );
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn three_come_soon_and_then_few() {
    let mut schedule = Schedule::new(at(5));
    assert_eq!(schedule.due(), at(5));
    schedule.sent(at(5), 0);
    assert_eq!(schedule.due(), at(21));
    schedule.sent(at(21), u32::MAX);
    assert_eq!(schedule.due(), at(37));
    schedule.sent(at(37), 0);
    assert_eq!(schedule.due(), at(237));
    schedule.sent(at(237), u32::MAX);
    assert_eq!(schedule.due(), at(837));
}

#[test]
fn whoever_cannot_be_answered_alone_brings_it_forward() {
    let mut schedule = Schedule::new(at(0));
    schedule.solicited(at(0));
    assert_eq!(schedule.due(), at(0));
    schedule.sent(at(10), 0);
    schedule.solicited(at(11));
    assert_eq!(schedule.due(), at(13));
    schedule.solicited(at(12));
    assert_eq!(schedule.due(), at(13));
    schedule.sent(at(13), 0);
    schedule.solicited(at(20));
    assert_eq!(schedule.due(), at(20));
    // What is due already is not put off.
    schedule.solicited(at(40));
    assert_eq!(schedule.due(), at(20));
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512), source: u128, hops: Option<u8>) {
        if let Ok(read) = Solicitation::parse(&bytes, Ipv6Addr::from(source), hops) {
            prop_assert_eq!(hops, Some(255));
            prop_assert!(read.from.is_none_or(|from| from.is_unicast_link_local()));
        }
    }

    #[test]
    fn any_options(tail in proptest::collection::vec(any::<u8>(), 0..256), anonymous: bool) {
        let source = if anonymous { NONE } else { HOST };
        let read = Solicitation::parse(&solicitation(&tail), source, Some(255));
        let refused_early = matches!(read, Err(Ignored::Short { .. } | Ignored::HopLimit { .. }));
        prop_assert!(!refused_early);
    }

    #[test]
    fn every_plan_fits_the_least_frame(
        servers in proptest::collection::vec(any::<u128>(), 0..40),
        search in proptest::collection::vec("[a-z]{1,63}(\\.[a-z]{1,63}){0,4}", 0..40),
        mtu: u32,
        prefix in 0_u8..=128,
    ) {
        let mut plan = plan();
        plan.nameservers = servers.into_iter().map(Ipv6Addr::from).collect();
        plan.search = search;
        plan.mtu = mtu;
        plan.address = ipnet::Ipv6Net::new(HOST, prefix).unwrap();
        let bytes = advertisement(&plan);
        prop_assert_eq!(bytes.len() % 8, 0);
        // 1280 less the IPv6 header.
        prop_assert!(bytes.len() <= 1240, "{} bytes", bytes.len());
        let mut options = &bytes[16..];
        while let Some((&[_, units], _)) = options.split_first_chunk::<2>() {
            options = options.get(usize::from(units) * 8..).unwrap();
        }
    }
}

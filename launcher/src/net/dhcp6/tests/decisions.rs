use dhcproto::v6::{DhcpOption, DhcpOptions, OptionCode, Status};

use super::*;
use crate::net::dhcp6::answer::{Outcome, Silence, answer, decide};
use crate::net::dhcp6::options::LIFETIME;
use crate::net::dhcp6::reply::{Reply, ReplyKind};
use crate::net::dhcp6::request::Request;

const SOLICIT: u8 = 1;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const INFORMATION: u8 = 11;

fn request(kind: u8, to: Option<&[u8]>, more: &[Vec<u8>]) -> Request {
    let mut options = vec![option(1, CLIENT)];
    options.extend(to.map(|id| option(2, id)));
    options.extend(more.iter().cloned());
    Request::parse(&datagram(kind, &options)).unwrap()
}

fn reply(kind: u8, to: Option<&[u8]>, more: &[Vec<u8>]) -> Reply {
    answer(&plan(), &request(kind, to, more)).unwrap()
}

fn codes(reply: &Reply) -> Vec<u16> {
    let code = |option| u16::from(OptionCode::from(option));
    reply.options.iter().map(code).collect()
}

/// Address and lifetime, or the status, of each association in order.
#[derive(Debug, PartialEq)]
enum Given {
    Address(Ipv6Addr, u32),
    Refused(Status),
}

fn given(reply: &Reply) -> Vec<Vec<Given>> {
    let inside = |options: &DhcpOptions| {
        let each = |option: &DhcpOption| match option {
            DhcpOption::IAAddr(address) => {
                assert_eq!(address.preferred_life, address.valid_life);
                Given::Address(address.addr, address.valid_life)
            }
            DhcpOption::StatusCode(code) => Given::Refused(code.status),
            other => panic!("{other:?}"),
        };
        options.iter().map(each).collect()
    };
    let each = |option: &DhcpOption| match option {
        DhcpOption::IANA(na) => Some(inside(&na.opts)),
        DhcpOption::IATA(ta) => Some(inside(&ta.opts)),
        DhcpOption::IAPD(pd) => Some(inside(&pd.opts)),
        _ => None,
    };
    reply.options.iter().filter_map(each).collect()
}

fn whole() -> Vec<Vec<Given>> {
    vec![vec![Given::Address(OURS, LIFETIME)]]
}

fn status(reply: &Reply) -> Option<Status> {
    reply.options.iter().find_map(|option| match option {
        DhcpOption::StatusCode(code) => Some(code.status),
        _ => None,
    })
}

#[test]
fn an_address_in_four_messages_or_two() {
    let wish = association(3, 7, &[]);
    let advertise = reply(SOLICIT, None, std::slice::from_ref(&wish));
    assert_eq!(advertise.kind, ReplyKind::Advertise);
    assert_eq!(codes(&advertise), [1, 2, 3, 23, 24, 7]);
    assert_eq!(given(&advertise), whole());
    assert_eq!(advertise.xid, [0xab, 0xcd, 0xef]);

    let lease = reply(REQUEST, Some(SERVER), std::slice::from_ref(&wish));
    assert_eq!(lease.kind, ReplyKind::Reply);
    assert_eq!(codes(&lease), [1, 2, 3, 23, 24]);
    assert_eq!(given(&lease), whole());

    let rapid = reply(SOLICIT, None, &[wish, option(14, &[])]);
    assert_eq!(rapid.kind, ReplyKind::Reply);
    assert_eq!(codes(&rapid), [1, 2, 3, 23, 24, 14]);
    assert_eq!(given(&rapid), whole());
}

#[test]
fn times_are_kubevirts_and_the_rfcs() {
    let lease = reply(REQUEST, Some(SERVER), &[association(3, 7, &[])]);
    let DhcpOption::IANA(na) = &lease.options[2] else {
        panic!("{lease:?}");
    };
    assert_eq!(LIFETIME, 86_313_600);
    assert_eq!((na.id, na.t1, na.t2), (7, 43_156_800, 69_050_880));
}

#[test]
fn every_duid_and_association_gets_the_one_address() {
    for (id, iaid) in [(&[0, 4, 1][..], 1), (&[0, 2, 9, 9, 9, 9], u32::MAX)] {
        let bytes = datagram(
            SOLICIT,
            &[option(1, id), association(3, iaid, &[NEIGHBOUR])],
        );
        let reply = answer(&plan(), &Request::parse(&bytes).unwrap()).unwrap();
        assert_eq!(given(&reply), whole());
        assert_eq!(reply.options[0], DhcpOption::ClientId(id.to_vec()));
    }
}

#[test]
fn there_is_one_address_and_no_prefix() {
    let wishes = [
        association(25, 1, &[]),
        association(4, 2, &[]),
        association(3, 3, &[]),
        association(3, 4, &[]),
    ];
    use Given::{Address, Refused};
    use Status::{NoAddrsAvail, NoBinding, NoPrefixAvail};
    assert_eq!(
        given(&reply(SOLICIT, None, &wishes)),
        [
            [Refused(NoPrefixAvail)],
            [Refused(NoAddrsAvail)],
            [Address(OURS, LIFETIME)],
            [Refused(NoAddrsAvail)]
        ]
    );
    assert_eq!(
        given(&reply(RENEW, Some(SERVER), &wishes)),
        [
            [Refused(NoBinding)],
            [Refused(NoBinding)],
            [Address(OURS, LIFETIME)],
            [Refused(NoBinding)]
        ]
    );
    // Without any wish for an address, the parameters.
    assert_eq!(codes(&reply(SOLICIT, None, &[])), [1, 2, 23, 24, 7]);
}

#[test]
fn a_renewal_takes_away_what_is_not_ours() {
    let has = association(3, 7, &[ELSEWHERE, OURS, NEIGHBOUR]);
    for (kind, to) in [(RENEW, Some(SERVER)), (REBIND, None)] {
        let reply = reply(kind, to, std::slice::from_ref(&has));
        let mut addresses = given(&reply).remove(0);
        let ours = addresses.remove(2);
        assert_eq!(ours, Given::Address(OURS, LIFETIME));
        assert_eq!(
            addresses,
            [Given::Address(ELSEWHERE, 0), Given::Address(NEIGHBOUR, 0)]
        );
    }
}

#[test]
fn an_address_of_another_network_is_refused() {
    let has = [association(3, 7, &[ELSEWHERE])];
    let refused = reply(REQUEST, Some(SERVER), &has);
    assert_eq!(given(&refused), [[Given::Refused(Status::NotOnLink)]]);
    // One of this network is a wish, no more.
    let has = [association(3, 7, &[NEIGHBOUR])];
    assert_eq!(given(&reply(REQUEST, Some(SERVER), &has)), whole());
}

#[test]
fn a_confirmation_is_of_the_one_address() {
    let confirm = |addresses: &[Ipv6Addr]| reply(CONFIRM, None, &[association(3, 7, addresses)]);
    assert_eq!(status(&confirm(&[OURS])), Some(Status::Success));
    for other in [NEIGHBOUR, ELSEWHERE] {
        assert_eq!(status(&confirm(&[OURS, other])), Some(Status::NotOnLink));
    }
    let nothing = request(CONFIRM, None, &[association(3, 7, &[])]);
    assert_eq!(
        decide(&plan(), &nothing),
        Outcome::Silence(Silence::NothingToConfirm)
    );
}

#[test]
fn what_is_given_back_is_acknowledged() {
    for kind in [RELEASE, DECLINE] {
        let reply = reply(kind, Some(SERVER), &[association(3, 7, &[OURS])]);
        assert_eq!(codes(&reply), [1, 2, 13]);
        assert_eq!(status(&reply), Some(Status::Success));
    }
}

#[test]
fn parameters_alone_need_no_identifier() {
    let told = reply(INFORMATION, None, &[]);
    assert_eq!(codes(&told), [1, 2, 23, 24]);
    let bytes = datagram(INFORMATION, &[]);
    let anonymous = answer(&plan(), &Request::parse(&bytes).unwrap()).unwrap();
    assert_eq!(codes(&anonymous), [2, 23, 24]);
    let mut plan = plan();
    plan.nameservers.clear();
    plan.search.clear();
    let bare = answer(&plan, &Request::parse(&bytes).unwrap()).unwrap();
    assert_eq!(codes(&bare), [2]);
}

#[test]
fn silence_has_its_reasons() {
    let other = Some(&[0, 3, 0, 1, 2, 0, 0, 0, 0, 1][..]);
    let wish = association(3, 7, &[OURS]);
    use Silence::{Malformed, OtherServer};
    let table = [
        (SOLICIT, Some(SERVER), Malformed),
        (CONFIRM, Some(SERVER), Malformed),
        (REBIND, Some(SERVER), Malformed),
        (REQUEST, None, Malformed),
        (RENEW, None, Malformed),
        (RELEASE, None, Malformed),
        (DECLINE, None, Malformed),
        (INFORMATION, None, Malformed),
        (REQUEST, other, OtherServer),
        (RENEW, other, OtherServer),
        (RELEASE, other, OtherServer),
        (DECLINE, other, OtherServer),
    ];
    for (kind, to, reason) in table {
        let request = request(kind, to, std::slice::from_ref(&wish));
        assert_eq!(
            decide(&plan(), &request),
            Outcome::Silence(reason),
            "{kind}"
        );
    }
    let elsewhere = request(INFORMATION, other, &[]);
    assert_eq!(decide(&plan(), &elsewhere), Outcome::Silence(OtherServer));
    // All but the last need a client's identifier.
    for kind in [SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE] {
        let request = Request::parse(&datagram(kind, std::slice::from_ref(&wish))).unwrap();
        assert_eq!(answer(&plan(), &request), None, "{kind}");
    }
}

use super::*;
use crate::net::dhcp::answer::{Outcome, Silence, answer, decide};
use crate::net::dhcp::reply::{Destination, Reply, ReplyKind};
use crate::net::dhcp::request::Request;

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;

fn request(
    kind: u8,
    ciaddr: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
) -> Request {
    let requested = requested.map(|address| address.octets());
    let server = server.map(|address| address.octets());
    let kind = [kind];
    let mut options: Vec<(u8, &[u8])> = vec![(53, &kind)];
    options.extend(requested.iter().map(|value| (50, value.as_slice())));
    options.extend(server.iter().map(|value| (54, value.as_slice())));
    Request::parse(&datagram(ciaddr, &options)).unwrap()
}

fn reply(request: &Request) -> Reply {
    answer(&plan(), request).unwrap()
}

fn codes(reply: &Reply) -> Vec<u8> {
    let code = |option| u8::from(dhcproto::v4::OptionCode::from(option));
    reply.options.iter().map(code).collect()
}

#[test]
fn every_state_of_a_client() {
    use ReplyKind::{Ack, Nak, Offer};
    let broadcast = Destination::Broadcast;
    let unicast = Destination::Unicast;
    #[rustfmt::skip]
    let table = [
        // What, ciaddr, option 50, option 54: reply, yiaddr, destination.
        ("init", DISCOVER, NONE, None, None, Offer, OURS, broadcast),
        ("init with a wish for another address", DISCOVER, NONE, Some(OTHER), None, Offer, OURS, broadcast),
        ("init with a server in mind", DISCOVER, NONE, None, Some(OTHER), Offer, OURS, broadcast),
        ("selecting", REQUEST, NONE, Some(OURS), Some(SERVER), Ack, OURS, broadcast),
        ("selecting what we did not offer", REQUEST, NONE, Some(OTHER), Some(SERVER), Nak, NONE, broadcast),
        ("init-reboot", REQUEST, NONE, Some(OURS), None, Ack, OURS, broadcast),
        ("init-reboot with an earlier pod's address", REQUEST, NONE, Some(OTHER), None, Nak, NONE, broadcast),
        ("renewing or rebinding", REQUEST, OURS, None, None, Ack, OURS, unicast(OURS)),
        ("renewing another address", REQUEST, OTHER, None, None, Nak, NONE, broadcast),
        ("renewing from outside the network", REQUEST, Ipv4Addr::new(192, 0, 2, 1), None, None, Nak, NONE, broadcast),
        ("a request for nothing", REQUEST, NONE, None, None, Ack, OURS, broadcast),
        ("inform", INFORM, OURS, None, None, Ack, NONE, unicast(OURS)),
        ("inform with an address set by hand", INFORM, OTHER, None, None, Ack, NONE, unicast(OTHER)),
        ("inform without an address", INFORM, NONE, None, None, Ack, NONE, broadcast),
        ("inform with our address", INFORM, SERVER, None, None, Ack, NONE, broadcast),
        ("inform with the network's broadcast", INFORM, Ipv4Addr::new(10, 0, 2, 255), None, None, Ack, NONE, broadcast),
        ("inform with an address elsewhere", INFORM, Ipv4Addr::new(192, 0, 2, 1), None, None, Ack, NONE, broadcast),
    ];
    for (what, kind, ciaddr, requested, server, replied, yiaddr, destination) in table {
        let reply = reply(&request(kind, ciaddr, requested, server));
        assert_eq!(
            (reply.kind, reply.yiaddr, reply.destination),
            (replied, yiaddr, destination),
            "{what}"
        );
        assert_eq!((reply.xid, reply.chaddr), (0xdead_beef, MAC), "{what}");
        let echoed = if replied == Ack { ciaddr } else { NONE };
        assert_eq!(reply.ciaddr, echoed, "{what}");
    }
}

#[test]
fn silence_has_its_reasons() {
    let table = [
        (REQUEST, Some(OURS), Some(OTHER), Silence::OtherServer),
        (RELEASE, None, Some(SERVER), Silence::Released),
        (RELEASE, None, Some(OTHER), Silence::OtherServer),
        (DECLINE, Some(OURS), Some(SERVER), Silence::Declined),
    ];
    for (kind, requested, server, reason) in table {
        let request = request(kind, NONE, requested, server);
        assert_eq!(
            decide(&plan(), &request),
            Outcome::Silence(reason),
            "{kind}"
        );
        assert_eq!(answer(&plan(), &request), None);
    }
    let mut stranger = request(DISCOVER, NONE, None, None);
    stranger.chaddr = MacAddr([2, 0, 0, 0, 0, 10]);
    assert_eq!(
        decide(&plan(), &stranger),
        Outcome::Silence(Silence::OtherClient)
    );
}

#[test]
fn a_lone_host_network_is_reached_too() {
    let mut plan = plan();
    plan.address = "10.0.2.2/32".parse().unwrap();
    let reply = answer(&plan, &request(REQUEST, OURS, None, None)).unwrap();
    assert_eq!(reply.destination, Destination::Unicast(OURS));
}

#[test]
fn options_by_kind_of_reply() {
    let offer = reply(&request(DISCOVER, NONE, None, None));
    assert_eq!(codes(&offer), [53, 54, 51, 1, 3, 121, 6, 26, 12, 15, 119]);
    let ack = reply(&request(REQUEST, OURS, None, None));
    assert_eq!(codes(&ack), codes(&offer));
    let inform = reply(&request(INFORM, OURS, None, None));
    assert_eq!(codes(&inform), [53, 54, 1, 3, 121, 6, 26, 12, 15, 119]);
    let nak = reply(&request(REQUEST, OTHER, None, None));
    assert_eq!(codes(&nak), [53, 54, 56]);
}

#[test]
fn what_the_vmi_adds() {
    let mut plan = plan();
    plan.options = DhcpOptions {
        boot_file_name: Some("pxelinux.0".to_owned()),
        tftp_server_name: Some("192.0.2.7".to_owned()),
        ntp_servers: vec![Ipv4Addr::new(192, 0, 2, 8)],
        private_options: vec![
            (224, "a".to_owned()),
            (254, "b".to_owned()),
            (53, "x".to_owned()),
        ],
    };
    let reply = answer(&plan, &request(DISCOVER, NONE, None, None)).unwrap();
    assert_eq!(codes(&reply)[11..], [42, 66, 67, 224, 254]);
    assert_eq!(reply.siaddr, Ipv4Addr::new(192, 0, 2, 7));
    plan.options.tftp_server_name = Some("tftp.example".to_owned());
    let reply = answer(&plan, &request(DISCOVER, NONE, None, None)).unwrap();
    assert_eq!(reply.siaddr, NONE);
}

#[test]
fn nothing_known_is_nothing_sent() {
    let mut plan = plan();
    plan.router = None;
    plan.nameservers.clear();
    plan.hostname.clear();
    plan.search.clear();
    plan.routes.clear();
    let reply = answer(&plan, &request(DISCOVER, NONE, None, None)).unwrap();
    assert_eq!(codes(&reply), [53, 54, 51, 1, 26]);
}

#[test]
fn the_client_identifier_comes_back() {
    let id: &[u8] = &[255, 1, 2, 3];
    for kind in [DISCOVER, REQUEST, INFORM] {
        let bytes = datagram(OTHER, &[(53, &[kind]), (61, id)]);
        let reply = reply(&Request::parse(&bytes).unwrap());
        assert_eq!(codes(&reply).last(), Some(&61), "{kind}");
    }
}

#[test]
fn too_much_for_the_client_is_left_out_by_weight() {
    let mut plan = plan();
    plan.options.private_options = (224..=230).map(|code| (code, "x".repeat(60))).collect();
    let size = |reply: &Reply| reply.encode().unwrap().len() + 28;

    // Says nothing: 576 bytes, so the last go.
    let plain = request(DISCOVER, NONE, None, None);
    let reply = answer(&plan, &plain).unwrap();
    assert!(size(&reply) <= 576, "{}", size(&reply));
    assert_eq!(codes(&reply).last(), Some(&225));

    // Asks for the last: they stay, others go.
    let wish = [53, 1, 3, 6, 12, 15, 26, 51, 54, 119, 121, 230];
    let bytes = datagram(NONE, &[(53, &[DISCOVER]), (55, &wish)]);
    let reply = answer(&plan, &Request::parse(&bytes).unwrap()).unwrap();
    assert!(size(&reply) <= 576);
    assert_eq!(codes(&reply).last(), Some(&230));
    assert_eq!(
        codes(&reply)[..11],
        [53, 54, 51, 1, 3, 121, 6, 26, 12, 15, 119]
    );

    // Takes more: it gets all, but never more than a frame.
    let takes = |size: u16| {
        let bytes = datagram(NONE, &[(53, &[DISCOVER]), (57, &size.to_be_bytes())]);
        answer(&plan, &Request::parse(&bytes).unwrap()).unwrap()
    };
    assert_eq!(codes(&takes(1500)).last(), Some(&230));
    assert_eq!(codes(&takes(64)), codes(&answer(&plan, &plain).unwrap()));
    let mut big = plan.clone();
    big.options.private_options = (224..=254).map(|code| (code, "x".repeat(250))).collect();
    let bytes = datagram(NONE, &[(53, &[DISCOVER]), (57, &u16::MAX.to_be_bytes())]);
    let reply = answer(&big, &Request::parse(&bytes).unwrap()).unwrap();
    assert!(
        size(&reply) <= 1450 && size(&reply) > 1100,
        "{}",
        size(&reply)
    );
}

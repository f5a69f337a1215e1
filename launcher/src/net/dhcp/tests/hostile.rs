use proptest::prelude::*;

use super::*;
use crate::net::dhcp::answer::answer;
use crate::net::dhcp::request::{Ignored, Kind, Request};

fn parse(bytes: &[u8]) -> Result<Request, Ignored> {
    Request::parse(bytes)
}

fn discover() -> Vec<u8> {
    datagram(
        Ipv4Addr::UNSPECIFIED,
        &[(53, &[1]), (55, &[1, 3, 6]), (57, &[2, 64]), (61, &[1, 2])],
    )
}

#[test]
fn reads_every_field() {
    let mut bytes = datagram(
        OTHER,
        &[
            (50, &[10, 0, 2, 2]),
            (53, &[3]),
            (54, &[10, 0, 2, 1]),
            (55, &[1, 3]),
            (57, &[5, 220]),
            (61, &[1, 9]),
        ],
    );
    bytes[10..12].copy_from_slice(&[0x80, 0]);
    bytes[24..28].copy_from_slice(&[192, 0, 2, 3]);
    assert_eq!(
        parse(&bytes),
        Ok(Request {
            kind: Kind::Request,
            xid: 0xdead_beef,
            flags: 0x8000,
            ciaddr: OTHER,
            giaddr: Ipv4Addr::new(192, 0, 2, 3),
            chaddr: MAC,
            requested: Some(OURS),
            server_id: Some(SERVER),
            client_id: Some(vec![1, 9]),
            parameters: vec![1, 3],
            max_size: Some(1500),
        })
    );
}

#[test]
fn refuses_with_reasons() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = discover();
        bytes[at] = byte;
        parse(&bytes)
    };
    assert_eq!(parse(&[]), Err(Ignored::Short { length: 0 }));
    assert_eq!(
        parse(&discover()[..239]),
        Err(Ignored::Short { length: 239 })
    );
    assert_eq!(changed(0, 2), Err(Ignored::NotARequest { op: 2 }));
    assert_eq!(changed(1, 6), Err(Ignored::Hardware { htype: 6, hlen: 6 }));
    assert_eq!(
        changed(2, 16),
        Err(Ignored::Hardware { htype: 1, hlen: 16 })
    );
    assert_eq!(changed(236, 0), Err(Ignored::Bootp));
    assert_eq!(changed(242, 2), Err(Ignored::UnknownKind { kind: 2 }));
    let with = |options: &[(u8, &[u8])]| parse(&datagram(OURS, options));
    assert_eq!(with(&[]), Err(Ignored::Bootp));
    assert_eq!(
        with(&[(53, &[])]),
        Err(Ignored::BadLength {
            code: 53,
            length: 0
        })
    );
    assert_eq!(
        with(&[(53, &[1]), (50, &[1; 5])]),
        Err(Ignored::BadLength {
            code: 50,
            length: 5
        })
    );
    assert_eq!(
        with(&[(53, &[1]), (53, &[1])]),
        Err(Ignored::BadLength {
            code: 53,
            length: 2
        })
    );
    let mut cut = datagram(OURS, &[(53, &[1])]);
    cut.pop();
    cut.extend([81, 3, 0]);
    assert_eq!(parse(&cut), Err(Ignored::Truncated { code: 81 }));
    cut.truncate(cut.len() - 2);
    assert_eq!(parse(&cut), Err(Ignored::Truncated { code: 81 }));
}

#[test]
fn bears_with_clients_that_are_only_careless() {
    // No end option; padding between; an option that trips other decoders.
    let mut bytes = datagram(OURS, &[(81, &[0]), (53, &[1])]);
    bytes.pop();
    assert_eq!(
        parse(&bytes).map(|request| request.kind),
        Ok(Kind::Discover)
    );
    let mut padded = bytes[..240].to_vec();
    padded.extend([0, 0, 53, 1, 8, 0, 255, 7, 7]);
    assert_eq!(parse(&padded).map(|request| request.kind), Ok(Kind::Inform));
}

#[test]
fn parts_of_an_option_are_joined() {
    let bytes = datagram(
        OURS,
        &[
            (53, &[1]),
            (61, &[1, 2]),
            (55, &[1]),
            (61, &[3]),
            (55, &[3]),
        ],
    );
    let request = parse(&bytes).unwrap();
    assert_eq!(request.client_id, Some(vec![1, 2, 3]));
    assert_eq!(request.parameters, [1, 3]);
}

#[test]
fn options_spill_over_into_the_name_fields() {
    let mut bytes = datagram(OURS, &[(52, &[3]), (61, &[1])]);
    bytes[44..48].copy_from_slice(&[61, 1, 3, 255]);
    bytes[108..115].copy_from_slice(&[53, 1, 3, 61, 1, 2, 255]);
    let request = parse(&bytes).unwrap();
    assert_eq!(request.kind, Kind::Request);
    assert_eq!(request.client_id, Some(vec![1, 2, 3]));
    bytes[242] = 0;
    assert_eq!(parse(&bytes), Err(Ignored::Bootp));
}

/// What was read is answered without a panic, within the client's bounds, as long as it asks with our hardware address.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(mut request) = parse(bytes) else {
        return Ok(());
    };
    request.chaddr = MAC;
    if let Some(reply) = answer(&plan(), &request) {
        let length = reply.encode().unwrap().len();
        prop_assert!((300..=1422).contains(&length), "{length} bytes");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        survives(&bytes)?;
    }

    #[test]
    fn any_options(tail in proptest::collection::vec(any::<u8>(), 0..1024)) {
        let mut bytes = datagram(OURS, &[(53, &[3])]);
        bytes.pop();
        bytes.extend(tail);
        survives(&bytes)?;
    }

    #[test]
    fn mutated_requests(
        kind in 1_u8..9,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<proptest::sample::Index>(),
        cut_it in any::<bool>(),
    ) {
        let mut bytes = discover();
        bytes[242] = kind;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut_it {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&bytes)?;
    }
}

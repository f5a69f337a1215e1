use proptest::prelude::*;

use super::*;
use crate::net::dhcp6::answer::answer;
use crate::net::dhcp6::request::{Association, Ignored, Kind, Need, Request};

fn parse(bytes: &[u8]) -> Result<Request, Ignored> {
    Request::parse(bytes)
}

fn solicit() -> Vec<u8> {
    datagram(
        1,
        &[
            option(1, CLIENT),
            association(3, 7, &[OURS]),
            option(6, &[0, 23, 0, 24]),
            option(8, &[0, 0]),
            option(14, &[]),
        ],
    )
}

#[test]
fn reads_every_field() {
    let bytes = datagram(
        3,
        &[
            option(1, CLIENT),
            option(2, SERVER),
            association(3, 7, &[OURS, NEIGHBOUR]),
            association(4, 8, &[]),
            association(25, 9, &[]),
            option(14, &[]),
            // Vendor options as short as they must not be: they trip other decoders.
            option(17, &[1]),
            option(16, &[]),
        ],
    );
    let needs = |need, iaid, addresses| Association {
        need,
        iaid,
        addresses,
    };
    assert_eq!(
        parse(&bytes),
        Ok(Request {
            kind: Kind::Request,
            xid: [0xab, 0xcd, 0xef],
            client_id: Some(CLIENT.to_vec()),
            server_id: Some(SERVER.to_vec()),
            rapid_commit: true,
            associations: vec![
                needs(Need::Address, 7, vec![OURS, NEIGHBOUR]),
                needs(Need::TemporaryAddress, 8, Vec::new()),
                needs(Need::Prefix, 9, Vec::new()),
            ],
        })
    );
}

#[test]
fn refuses_with_reasons() {
    let with = |options: &[Vec<u8>]| parse(&datagram(1, options));
    assert_eq!(parse(&[]), Err(Ignored::Short { length: 0 }));
    assert_eq!(parse(&[1, 2, 3]), Err(Ignored::Short { length: 3 }));
    // Servers', relays' (RFC 8415 7.3) and nobody's.
    for kind in [0, 2, 7, 10, 12, 13, 14, 255] {
        assert_eq!(
            parse(&datagram(kind, &[])),
            Err(Ignored::UnknownKind { kind })
        );
    }
    let length = |code, length| Err(Ignored::BadLength { code, length });
    assert_eq!(with(&[option(1, &[0, 3])]), length(1, 2));
    assert_eq!(with(&[option(2, &[0; 131])]), length(2, 131));
    assert_eq!(with(&[option(3, &[0; 11])]), length(3, 11));
    assert_eq!(with(&[option(4, &[0; 3])]), length(4, 3));
    let short = [vec![0; 12], option(5, &[0; 23])].concat();
    assert_eq!(with(&[option(3, &short)]), length(5, 23));
    let repeated = [option(1, CLIENT), option(1, CLIENT)];
    assert_eq!(with(&repeated), Err(Ignored::Repeated { code: 1 }));
    assert_eq!(
        with(&vec![association(3, 1, &[]); 9]),
        Err(Ignored::TooMany { code: 3 })
    );
    assert_eq!(
        with(&[association(3, 1, &[OURS; 9])]),
        Err(Ignored::TooMany { code: 5 })
    );
    let whole = solicit();
    let cut = &whole[..whole.len() - 1];
    assert_eq!(parse(cut), Err(Ignored::Truncated { left: 3 }));
    let mut long = whole.clone();
    long.extend([0, 1, 0, 200, 0]);
    assert_eq!(parse(&long), Err(Ignored::Truncated { left: 5 }));
}

/// What was read is answered without a panic and within the least frame of IPv6.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(request) = parse(bytes) else {
        return Ok(());
    };
    if let Some(reply) = answer(&plan(), &request) {
        let length = reply.encode().unwrap().len();
        prop_assert!((4..=1232).contains(&length), "{length} bytes");
    }
    Ok(())
}

#[test]
fn the_greatest_request_gets_a_reply_of_one_frame() {
    let mut options = vec![option(1, &[1; 130])];
    options.extend(vec![association(3, 7, &[NEIGHBOUR; 8]); 8]);
    // The most that a pod's resolver and one option of DHCPv4 let a plan have.
    let mut plan = plan();
    plan.nameservers = vec![NEIGHBOUR; 16];
    plan.search = vec![format!("{}.{}", "a".repeat(63), "b".repeat(61)); 2];
    let request = parse(&datagram(6, &options)).unwrap();
    let length = answer(&plan, &request).unwrap().encode().unwrap().len();
    assert!((1000..=1232).contains(&length), "{length} bytes");
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        survives(&bytes)?;
    }

    #[test]
    fn any_options(kind in 0_u8..12, tail in proptest::collection::vec(any::<u8>(), 0..1024)) {
        survives(&datagram(kind, &[option(1, CLIENT), tail]))?;
    }

    #[test]
    fn mutated_requests(
        kind in 1_u8..12,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<proptest::sample::Index>(),
        cut_it in any::<bool>(),
    ) {
        let mut bytes = solicit();
        bytes[0] = kind;
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

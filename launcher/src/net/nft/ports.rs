//! Forwarded ports as matches: of each protocol one, in order and without overlap, as nft lists them.

use nftables::expr::{Expression, Range};
use nftables::stmt::{Operator, Statement};

use super::rules::{payload, set};
use crate::spec::nic::{Port, Protocol};

/// Alternatives, each of which is a rule's matches: one without any lets every packet through.
pub(super) type Matches = Vec<Vec<Statement<'static>>>;

/// What Istio's proxy leaves alone.
const NOT_PROXIED: u16 = 22;
/// What Istio's proxy listens on (facts 7.3).
const ISTIOS_OWN: [u16; 10] = [
    15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090,
];

/// The listed ports; everything when none is.
pub(super) fn matches(ports: &[Port]) -> Matches {
    if ports.is_empty() {
        return vec![Vec::new()];
    }
    let by_protocol = [Protocol::Tcp, Protocol::Udp].map(|one| (one.name(), one));
    let one = |(name, protocol)| {
        let right = one_or_set(&joined(ports, protocol))?;
        Some(vec![payload(name, "dport", Operator::EQ, right)])
    };
    by_protocol.into_iter().filter_map(one).collect()
}

/// Those of the listed ports that Istio's proxy leaves alone.
pub(super) fn around_istio(ports: &[Port]) -> Matches {
    let listed = ports.is_empty()
        || ports.iter().any(|port| {
            port.protocol == Protocol::Tcp && (port.port..=port.last).contains(&NOT_PROXIED)
        });
    let port = || payload("tcp", "dport", Operator::EQ, number(NOT_PROXIED));
    Vec::from_iter(listed.then(|| vec![port()]))
}

/// Istio's own ports.
pub(super) fn istios_own() -> Expression<'static> {
    set(ISTIOS_OWN.into_iter().map(number).collect())
}

/// The protocol's ports as ranges from first to last; nft joins neighbours in a set, so they are joined here.
fn joined(ports: &[Port], protocol: Protocol) -> Vec<(u16, u16)> {
    let mut ranges: Vec<_> = ports
        .iter()
        .filter(|port| port.protocol == protocol)
        .map(|port| (port.port, port.last))
        .collect();
    ranges.sort_unstable();
    // Alone, single ports are the elements of a set, and stay apart.
    if ranges.iter().all(|(first, last)| first == last) {
        ranges.dedup();
        return ranges;
    }
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn one_or_set(ranges: &[(u16, u16)]) -> Option<Expression<'static>> {
    let mut elements: Vec<_> = ranges.iter().copied().map(element).collect();
    if elements.len() > 1 {
        Some(set(elements))
    } else {
        elements.pop()
    }
}

fn element((first, last): (u16, u16)) -> Expression<'static> {
    if first == last {
        return number(first);
    }
    Expression::Range(Box::new(Range {
        range: [number(first), number(last)],
    }))
}

fn number(port: u16) -> Expression<'static> {
    Expression::Number(port.into())
}

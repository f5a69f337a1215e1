//! What one request gets: RFC 2131 4.3 for a server that has one address for one client.

use std::net::Ipv4Addr;

use super::options;
use super::reply::{Destination, Reply, ReplyKind};
use super::request::{Kind, Request};
use crate::net::plan::DhcpPlan;

/// A request's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This is sent.
    Reply(Box<Reply>),
    /// Nothing is sent.
    Silence(Silence),
}

/// Why a well-formed request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Another hardware address than the planned client's.
    #[error("not our client")]
    OtherClient,
    /// It takes another server's offer, or speaks to another server.
    #[error("meant for another server")]
    OtherServer,
    /// It gives its address back. The address stays its own: nobody else can have it.
    #[error("released")]
    Released,
    /// It found its address in use by somebody else on the link. There is no other address to give.
    #[error("declined")]
    Declined,
}

/// The reply to `request`, if it gets one.
pub fn answer(plan: &DhcpPlan, request: &Request) -> Option<Reply> {
    match decide(plan, request) {
        Outcome::Reply(reply) => Some(*reply),
        Outcome::Silence(_) => None,
    }
}

/// The reply to `request`, or why it gets none.
pub fn decide(plan: &DhcpPlan, request: &Request) -> Outcome {
    if request.chaddr != plan.client {
        return Outcome::Silence(Silence::OtherClient);
    }
    // RFC 2131 4.3.2 for REQUEST, 4.3.3 and 4.3.4 for the others: an identifier that is not ours names another server.
    if request.kind != Kind::Discover && request.server_id.is_some_and(|id| id != plan.server) {
        return Outcome::Silence(Silence::OtherServer);
    }
    let reply = match request.kind {
        Kind::Discover => lease(plan, request, ReplyKind::Offer),
        Kind::Request if claims(request).is_none_or(|claim| claim == plan.address.addr()) => {
            lease(plan, request, ReplyKind::Ack)
        }
        Kind::Request => nak(plan, request),
        Kind::Inform => inform(plan, request),
        Kind::Release => return Outcome::Silence(Silence::Released),
        Kind::Decline => return Outcome::Silence(Silence::Declined),
    };
    Outcome::Reply(Box::new(reply))
}

/// The address that a REQUEST is about: `ciaddr` in RENEWING and REBINDING, option 50 in SELECTING and INIT-REBOOT
/// (RFC 2131 4.3.2, table 4). One with neither breaks the RFC, and can only be given what we have.
fn claims(request: &Request) -> Option<Ipv4Addr> {
    if request.ciaddr.is_unspecified() {
        request.requested
    } else {
        Some(request.ciaddr)
    }
}

fn lease(plan: &DhcpPlan, request: &Request, kind: ReplyKind) -> Reply {
    Reply {
        yiaddr: plan.address.addr(),
        siaddr: options::next_server(plan),
        destination: destination(plan, request),
        options: options::fit(options::lease(plan, request, kind), plan, request),
        // RFC 2131 table 3: an OFFER's is zero, an ACK's the client's own.
        ciaddr: match kind {
            ReplyKind::Offer => Ipv4Addr::UNSPECIFIED,
            _ => request.ciaddr,
        },
        ..blank(request, kind)
    }
}

/// RFC 2131 4.3.5: parameters only, neither a lease time nor an address.
fn inform(plan: &DhcpPlan, request: &Request) -> Reply {
    Reply {
        ciaddr: request.ciaddr,
        siaddr: options::next_server(plan),
        destination: destination(plan, request),
        options: options::fit(options::inform(plan, request), plan, request),
        ..blank(request, ReplyKind::Ack)
    }
}

/// RFC 2131 4.3.2: the client's notion of its address is wrong, and it is to begin again. Broadcast, for it cannot be
/// reached by the address that it must not use.
fn nak(plan: &DhcpPlan, request: &Request) -> Reply {
    Reply {
        options: options::nak(plan, request),
        ..blank(request, ReplyKind::Nak)
    }
}

fn blank(request: &Request, kind: ReplyKind) -> Reply {
    Reply {
        kind,
        xid: request.xid,
        flags: request.flags,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: request.giaddr,
        chaddr: request.chaddr,
        destination: Destination::Broadcast,
        options: Vec::new(),
    }
}

/// Unicast to a client that has its address, broadcast to one that has none yet.
///
/// RFC 2131 4.1 would have us unicast to an address that the client cannot answer ARP for unless it asks for
/// broadcast. That takes a raw socket or a neighbour entry, thus a privilege that we no longer hold; the same section
/// allows a broadcast instead. A `ciaddr` outside the link's network is the guest's invention: never a destination.
fn destination(plan: &DhcpPlan, request: &Request) -> Destination {
    let to = request.ciaddr;
    let network = plan.address;
    let host = network.contains(&to) && to != network.network() && to != network.broadcast();
    if to == network.addr() || (host && to != plan.server) {
        Destination::Unicast(to)
    } else {
        Destination::Broadcast
    }
}

//! What one request gets: RFC 8415 18.3 for a server that has one address for whoever is on the link.
//!
//! A guest boots through several clients (firmware, initramfs, its own), each with another DUID and number of its
//! association, so the address is bound to none of them: what a client asks about is its own as long as it is the
//! planned address. Nothing is remembered, and nothing is lost when the server begins anew.

use dhcproto::v6::{DhcpOption, Status};

use super::options::{parameters, parties, refused, server_duid, status, with_address};
use super::reply::{Reply, ReplyKind};
use super::request::{Association, Kind, Need, Request};
use crate::net::plan::Ipv6Plan;

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
    /// It speaks to another server.
    #[error("meant for another server")]
    OtherServer,
    /// RFC 8415 16: an identifier is missing, or one or an association is there that must not be.
    #[error("its identifiers or associations are not those of such a message")]
    Malformed,
    /// RFC 8415 18.3.3: it names no address to confirm.
    #[error("nothing to confirm")]
    NothingToConfirm,
}

/// The reply to `request`, if it gets one.
pub fn answer(plan: &Ipv6Plan, request: &Request) -> Option<Reply> {
    match decide(plan, request) {
        Outcome::Reply(reply) => Some(*reply),
        Outcome::Silence(_) => None,
    }
}

/// The reply to `request`, or why it gets none.
pub fn decide(plan: &Ipv6Plan, request: &Request) -> Outcome {
    if let Err(reason) = admit(plan, request) {
        return Outcome::Silence(reason);
    }
    let (kind, mut told) = match request.kind {
        Kind::Solicit if request.rapid_commit => {
            let mut told = lease(plan, request);
            told.push(DhcpOption::RapidCommit);
            (ReplyKind::Reply, told)
        }
        Kind::Solicit => {
            let mut told = lease(plan, request);
            // RFC 8415 18.2.1: with the greatest preference the client does not wait for other servers.
            told.push(DhcpOption::Preference(u8::MAX));
            (ReplyKind::Advertise, told)
        }
        Kind::Request | Kind::Renew | Kind::Rebind => (ReplyKind::Reply, lease(plan, request)),
        Kind::Confirm => match confirm(plan, request) {
            Ok(status) => (ReplyKind::Reply, vec![status]),
            Err(reason) => return Outcome::Silence(reason),
        },
        Kind::Release => (ReplyKind::Reply, vec![status(Status::Success, "released")]),
        Kind::Decline => (ReplyKind::Reply, vec![status(Status::Success, "noted")]),
        Kind::InformationRequest => (ReplyKind::Reply, parameters(plan)),
    };
    let mut options = parties(plan, request);
    options.append(&mut told);
    Outcome::Reply(Box::new(Reply {
        kind,
        xid: request.xid,
        options,
    }))
}

/// RFC 8415 16: which identifiers a message has.
fn admit(plan: &Ipv6Plan, request: &Request) -> Result<(), Silence> {
    let (client, server) = (&request.client_id, &request.server_id);
    let well_formed = match request.kind {
        Kind::Solicit | Kind::Confirm | Kind::Rebind => client.is_some() && server.is_none(),
        Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => {
            client.is_some() && server.is_some()
        }
        Kind::InformationRequest => request.associations.is_empty(),
    };
    if !well_formed {
        return Err(Silence::Malformed);
    }
    match server {
        Some(id) if *id != server_duid(plan.router) => Err(Silence::OtherServer),
        _ => Ok(()),
    }
}

/// The address for the first association that wants one, the reason for the others, and the parameters.
fn lease(plan: &Ipv6Plan, request: &Request) -> Vec<DhcpOption> {
    let first = request
        .associations
        .iter()
        .position(|association| association.need == Need::Address);
    let mut options: Vec<_> = (0..)
        .zip(&request.associations)
        .map(|(index, association)| {
            if Some(index) == first {
                serve(plan, request.kind, association)
            } else {
                refuse(request.kind, association)
            }
        })
        .collect();
    options.append(&mut parameters(plan));
    options
}

fn serve(plan: &Ipv6Plan, kind: Kind, association: &Association) -> DhcpOption {
    let elsewhere = |address| !plan.address.contains(address);
    // RFC 8415 18.3.2: it chose from what some other network's server told it.
    if kind == Kind::Request && association.addresses.iter().any(elsewhere) {
        return refused(association, Status::NotOnLink, "not of this link");
    }
    let renewing = matches!(kind, Kind::Renew | Kind::Rebind);
    with_address(association, plan.address.addr(), renewing)
}

/// There is one address and no prefix.
fn refuse(kind: Kind, association: &Association) -> DhcpOption {
    match (kind, association.need) {
        (Kind::Renew | Kind::Rebind, _) => refused(association, Status::NoBinding, "never given"),
        (_, Need::Prefix) => refused(association, Status::NoPrefixAvail, "no prefix to give"),
        (_, Need::Address | Need::TemporaryAddress) => {
            refused(association, Status::NoAddrsAvail, "no address left")
        }
    }
}

/// RFC 8415 18.3.3 asks whether the addresses fit the link. Only one does: any other leads nowhere from here, and a
/// client that is told so begins again and gets the right one.
fn confirm(plan: &Ipv6Plan, request: &Request) -> Result<DhcpOption, Silence> {
    let mut addresses = request
        .associations
        .iter()
        .flat_map(|association| &association.addresses)
        .peekable();
    if addresses.peek().is_none() {
        return Err(Silence::NothingToConfirm);
    }
    Ok(
        if addresses.all(|&address| address == plan.address.addr()) {
            status(Status::Success, "the guest's own")
        } else {
            status(Status::NotOnLink, "not of this link")
        },
    )
}

//! The options of a reply.

use std::net::Ipv6Addr;

use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IATA, OptionCode, Status, StatusCode,
    UnknownOption,
};

use super::request::{Association, Need, Request};
use crate::net::domain;
use crate::net::mac::MacAddr;
use crate::net::plan::Ipv6Plan;

/// 999 days in seconds, KubeVirt's (facts 7.6): a guest that is paused or saved for long keeps its address.
pub(super) const LIFETIME: u32 = 999 * 24 * 60 * 60;
/// RFC 8415 21.4: when to renew, and when to ask any server, are half and four fifths of the preferred lifetime.
const RENEW: u32 = LIFETIME / 2;
const REBIND: u32 = LIFETIME / 5 * 4;

/// DUID-LL of the bridge (RFC 8415 11.4), so the same in every pod that the guest comes to.
pub(super) fn server_duid(bridge: MacAddr) -> Vec<u8> {
    [&[0, 3, 0, 1], bridge.0.as_slice()].concat()
}

/// Who speaks to whom: in every reply.
pub(super) fn parties(plan: &Ipv6Plan, request: &Request) -> Vec<DhcpOption> {
    let client = request.client_id.clone().map(DhcpOption::ClientId);
    let server = DhcpOption::ServerId(server_duid(plan.router));
    client.into_iter().chain([server]).collect()
}

/// What goes with an address or without one: told always, as KubeVirt does, asked for or not.
pub(super) fn parameters(plan: &Ipv6Plan) -> Vec<DhcpOption> {
    let servers = plan.nameservers.clone();
    let names = domain::list(&plan.search);
    let servers = (!servers.is_empty()).then_some(DhcpOption::DomainNameServers(servers));
    // Through bytes: the crate's own list would refuse names that the planner let pass.
    let names = (!names.is_empty()).then_some(DhcpOption::Unknown(UnknownOption::new(
        OptionCode::DomainSearchList,
        names,
    )));
    servers.into_iter().chain(names).collect()
}

/// RFC 8415 21.13.
pub(super) fn status(status: Status, text: &str) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode {
        status,
        msg: text.to_owned(),
    })
}

/// The association with the guest's address; what else the client says that it has is taken away by lifetimes of 0
/// (RFC 8415 18.3.4).
pub(super) fn with_address(association: &Association, ours: Ipv6Addr, stale: bool) -> DhcpOption {
    let others = association.addresses.iter().filter(|&&other| other != ours);
    let others = others.filter(|_| stale).map(|&other| address(other, 0));
    let inner = others.chain([address(ours, LIFETIME)]).collect();
    wrapped(association, inner, (RENEW, REBIND))
}

/// The association with nothing but the reason why.
pub(super) fn refused(association: &Association, reason: Status, text: &str) -> DhcpOption {
    let inner = [status(reason, text)].into_iter().collect();
    wrapped(association, inner, (0, 0))
}

fn wrapped(association: &Association, opts: DhcpOptions, (t1, t2): (u32, u32)) -> DhcpOption {
    let id = association.iaid;
    match association.need {
        Need::Address => DhcpOption::IANA(IANA { id, t1, t2, opts }),
        Need::TemporaryAddress => DhcpOption::IATA(IATA { id, opts }),
        Need::Prefix => DhcpOption::IAPD(IAPD { id, t1, t2, opts }),
    }
}

fn address(addr: Ipv6Addr, lifetime: u32) -> DhcpOption {
    DhcpOption::IAAddr(IAAddr {
        addr,
        preferred_life: lifetime,
        valid_life: lifetime,
        opts: DhcpOptions::new(),
    })
}

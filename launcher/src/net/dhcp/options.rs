//! The options of a reply: what KubeVirt sends, all of it, asked for or not (facts 7.5).

use std::net::Ipv4Addr;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};

use super::reply::ReplyKind;
use super::request::Request;
use crate::net::domain;
use crate::net::plan::DhcpPlan;

/// 999 days in seconds, KubeVirt's lease: a guest that is paused or saved for long keeps its address.
pub const LEASE_SECONDS: u32 = 999 * 24 * 60 * 60;
/// RFC 2131 2: every client takes an IP datagram of this many bytes.
const LEAST_DATAGRAM: u16 = 576;
/// IP and UDP headers, BOOTP's fixed fields and cookie, and the end option.
const OVERHEAD: usize = 20 + 8 + 240 + 1;

/// An OFFER's or a lease's ACK.
pub(super) fn lease(plan: &DhcpPlan, request: &Request, kind: ReplyKind) -> Vec<DhcpOption> {
    let mut options = preamble(plan, kind);
    options.push(DhcpOption::AddressLeaseTime(LEASE_SECONDS));
    options.extend(parameters(plan));
    options.extend(client_id(request));
    options
}

/// An INFORM's ACK: no lease time.
pub(super) fn inform(plan: &DhcpPlan, request: &Request) -> Vec<DhcpOption> {
    let mut options = preamble(plan, ReplyKind::Ack);
    options.extend(parameters(plan));
    options.extend(client_id(request));
    options
}

/// RFC 2131 table 3: a NAK has nothing but who says it and why.
pub(super) fn nak(plan: &DhcpPlan, request: &Request) -> Vec<DhcpOption> {
    let mut options = preamble(plan, ReplyKind::Nak);
    options.push(DhcpOption::Message("wrong address".to_owned()));
    options.extend(client_id(request));
    options
}

/// `siaddr`: boot ROMs take the TFTP server from there, and an address in option 66 can be told both ways.
pub(super) fn next_server(plan: &DhcpPlan) -> Ipv4Addr {
    let name = plan.options.tftp_server_name.as_deref();
    name.and_then(|name| name.parse().ok())
        .unwrap_or(Ipv4Addr::UNSPECIFIED)
}

fn preamble(plan: &DhcpPlan, kind: ReplyKind) -> Vec<DhcpOption> {
    vec![
        DhcpOption::MessageType(match kind {
            ReplyKind::Offer => MessageType::Offer,
            ReplyKind::Ack => MessageType::Ack,
            ReplyKind::Nak => MessageType::Nak,
        }),
        DhcpOption::ServerIdentifier(plan.server),
    ]
}

/// RFC 6842: sent back, so that a client tells its own replies from its neighbour's.
fn client_id(request: &Request) -> Option<DhcpOption> {
    request.client_id.clone().map(DhcpOption::ClientIdentifier)
}

/// In the order of their weight, which is also the order on the wire; the mask stands before the router (RFC 2132 3.3).
fn parameters(plan: &DhcpPlan) -> Vec<DhcpOption> {
    let extra = &plan.options;
    let mut options = vec![DhcpOption::SubnetMask(plan.address.netmask())];
    options.extend(plan.router.map(|router| DhcpOption::Router(vec![router])));
    // RFC 3442: a client that knows 121 passes over 3, so 121 has the default route too.
    options.extend(some(
        classless_routes(plan),
        DhcpOption::ClasslessStaticRoute,
    ));
    options.extend(some(plan.nameservers.clone(), DhcpOption::DomainNameServer));
    options.push(DhcpOption::InterfaceMtu(plan.mtu));
    options.extend(text(OptionCode::Hostname, &plan.hostname));
    options.extend(longest(&plan.search).and_then(|domain| text(OptionCode::DomainName, domain)));
    options.extend(raw(OptionCode::DomainSearch, domain::list(&plan.search)));
    options.extend(some(extra.ntp_servers.clone(), DhcpOption::NtpServers));
    let boot = [
        (OptionCode::TFTPServerName, &extra.tftp_server_name),
        (OptionCode::BootfileName, &extra.boot_file_name),
    ];
    for (code, value) in boot {
        options.extend(value.as_deref().and_then(|value| text(code, value)));
    }
    // RFC 2132 2: the site's own. `Spec` holds the range, and we do not let a slip overwrite a standard option.
    for (code, value) in &extra.private_options {
        if (224..=254).contains(code) {
            options.extend(text(OptionCode::from(*code), value));
        }
    }
    options
}

/// The default route last: clients set routes in order, and its gateway may need one of the others first.
fn classless_routes(plan: &DhcpPlan) -> Vec<(ipnet::Ipv4Net, Ipv4Addr)> {
    let routes = plan.routes.iter().map(|(to, via)| (to.trunc(), *via));
    let (defaults, mut routes): (Vec<_>, Vec<_>) = routes.partition(|(to, _)| to.prefix_len() == 0);
    routes.extend(defaults);
    routes
}

/// The first of the longest.
fn longest(search: &[String]) -> Option<&str> {
    let rooted = search.iter().map(|domain| domain.trim_end_matches('.'));
    rooted.rev().max_by_key(|domain| domain.len())
}

fn some<T>(values: Vec<T>, option: impl FnOnce(Vec<T>) -> DhcpOption) -> Option<DhcpOption> {
    (!values.is_empty()).then(|| option(values))
}

fn text(code: OptionCode, value: &str) -> Option<DhcpOption> {
    raw(code, value.as_bytes().to_vec())
}

/// Longer than 255 bytes goes out in parts (RFC 3396); the encoder sees to it.
fn raw(code: OptionCode, value: Vec<u8>) -> Option<DhcpOption> {
    some(value, |value| {
        DhcpOption::Unknown(UnknownOption::new(code, value))
    })
}

/// Leaves out what does not fit the client: first what it did not ask for, then from the end. A datagram that a client
/// cuts short has no end option and is dropped whole, so fewer options are better than none.
pub(super) fn fit(
    mut options: Vec<DhcpOption>,
    plan: &DhcpPlan,
    request: &Request,
) -> Vec<DhcpOption> {
    let room = usize::from(datagram(plan, request)).saturating_sub(OVERHEAD);
    let sizes = options
        .iter()
        .map(|option| option.to_vec().map_or(0, |bytes| bytes.len()));
    let mut excess = sizes.sum::<usize>().saturating_sub(room);
    for spare_wanted in [false, true] {
        for index in (0..options.len()).rev() {
            let code = u8::from(OptionCode::from(&options[index]));
            let wanted = request.parameters.contains(&code);
            if excess > 0 && !indispensable(code) && (spare_wanted || !wanted) {
                let dropped = options.remove(index);
                excess = excess.saturating_sub(dropped.to_vec().map_or(0, |bytes| bytes.len()));
            }
        }
    }
    options
}

/// Type, server and lease, mask and router, and the client's own identifier.
fn indispensable(code: u8) -> bool {
    matches!(code, 1 | 3 | 51 | 53 | 54 | 61)
}

/// RFC 2131 2 and RFC 2132 9.10; never more than one frame, for a client without an address reads raw frames.
fn datagram(plan: &DhcpPlan, request: &Request) -> u16 {
    let takes = request.max_size.unwrap_or(LEAST_DATAGRAM);
    takes.min(plan.mtu).max(LEAST_DATAGRAM)
}

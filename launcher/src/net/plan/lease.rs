//! What the guest is told by DHCP: KubeVirt's rules for resolver, search list and routes (facts 7.5).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::DhcpPlan;
use super::ipv6::is_reachable;
use crate::host::Resolver;
use crate::net::mac::MacAddr;
use crate::refusal::Notice;
use crate::spec::Identity;
use crate::spec::nic::Nic;

/// Told to a guest whose pod knows no name server.
const FALLBACK_SERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

/// Told to a guest whose pod has no search list.
const FALLBACK_SEARCH: &str = "cluster.local";

/// A DHCP option's length is one byte (RFC 2132), and clients that join split options are rare.
const LONGEST_OPTION: usize = 255;

/// Where the lease is given, and to whom.
pub(super) struct Wire<'a> {
    pub(super) link: &'a str,
    pub(super) client: MacAddr,
    pub(super) guest: Ipv4Net,
    pub(super) server: Ipv4Addr,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) routes: Vec<(Ipv4Net, Ipv4Addr)>,
    pub(super) mtu: u32,
}

/// The guest's lease. The host name is the VMI's: virt-controller gives the pod the same one.
pub(super) fn lease(
    wire: Wire<'_>,
    nic: &Nic,
    identity: &Identity,
    resolver: &Resolver,
    notices: &mut Vec<Notice>,
) -> DhcpPlan {
    DhcpPlan {
        link: wire.link.to_owned(),
        client: wire.client,
        address: wire.guest,
        server: wire.server,
        router: wire.router,
        nameservers: nameservers(resolver, nic, notices),
        hostname: identity.hostname.clone(),
        search: search(resolver, identity, nic, notices),
        mtu: u16::try_from(wire.mtu).unwrap_or(u16::MAX),
        routes: wire.routes,
        options: nic.dhcp_options.clone(),
    }
}

fn nameservers(resolver: &Resolver, nic: &Nic, notices: &mut Vec<Notice>) -> Vec<Ipv4Addr> {
    let (own, servers): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) = resolver
        .nameservers
        .iter()
        .partition(|server| server.is_loopback());
    if let Some(server) = own.first() {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "name server `{server}` is the pod's own loopback: the guest is not told of it"
            ),
        ));
    }
    if !servers.is_empty() {
        return servers;
    }
    if resolver
        .nameservers6
        .iter()
        .any(|server| is_reachable(&server))
    {
        let message = "the pod has IPv6 name servers alone: the guest is told of none by DHCP, and without IPv6 has none";
        notices.push(Notice::new(&nic.path, message));
        return servers;
    }
    if !own.is_empty() || !resolver.nameservers6.is_empty() {
        let message = format!(
            "the pod has no name server that the guest can reach: it is told `{FALLBACK_SERVER}`"
        );
        notices.push(Notice::new(&nic.path, message));
    }
    vec![FALLBACK_SERVER]
}

/// The pod's search list, lower case, before it what `subdomain` adds.
pub(super) fn search(
    resolver: &Resolver,
    identity: &Identity,
    nic: &Nic,
    notices: &mut Vec<Notice>,
) -> Vec<String> {
    let mut domains = Vec::new();
    for written in &resolver.search {
        let domain = written.trim_end_matches('.').to_ascii_lowercase();
        if is_domain(&domain) {
            domains.push(domain);
        } else {
            notices.push(Notice::new(
                &nic.path,
                format!(
                    "search domain `{written}` is not a domain name: the guest is not told of it"
                ),
            ));
        }
    }
    if domains.is_empty() {
        domains.push(FALLBACK_SEARCH.to_owned());
    }
    let subdomain = identity.subdomain.as_deref();
    if let Some(first) = subdomain.and_then(|subdomain| of_subdomain(&domains, subdomain)) {
        domains.insert(0, first);
    }
    cut(domains, nic, notices)
}

/// `<subdomain>.<longest service domain>`, unless the list has it already.
fn of_subdomain(domains: &[String], subdomain: &str) -> Option<String> {
    // The first of the longest.
    let service = domains
        .iter()
        .filter(|domain| domain.contains(".svc."))
        .rev()
        .max_by_key(|domain| domain.len())?;
    let has_it = subdomain.is_empty() || service.starts_with(&format!("{subdomain}."));
    (!has_it).then(|| format!("{subdomain}.{service}"))
}

/// As many domains, from the first, as one option holds.
fn cut(mut domains: Vec<String>, nic: &Nic, notices: &mut Vec<Notice>) -> Vec<String> {
    let mut length = 0;
    let fitting = domains
        .iter()
        // Each label after its length, then the root label: two more than the text.
        .take_while(|domain| {
            length += domain.len() + 2;
            length <= LONGEST_OPTION
        })
        .count();
    if fitting < domains.len() {
        notices.push(Notice::new(
            &nic.path,
            format!(
                "the search list is longer than {LONGEST_OPTION} bytes: the guest is told the first {fitting} of {} domains",
                domains.len()
            ),
        ));
        domains.truncate(fitting);
    }
    domains
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

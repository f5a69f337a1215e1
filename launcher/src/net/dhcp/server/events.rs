//! What the server reports, by names that stay. A line a kind at a time, so that a guest cannot fill the log.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::answer::Silence;
use super::super::budget::LogBudget;
use super::super::reply::{Reply, ReplyKind};
use super::super::request::{Ignored, Kind, Request};
use crate::net::plan::DhcpPlan;

/// Nothing of the guest's own text is written, only addresses and numbers.
pub(super) struct Events {
    link: String,
    /// By the event's name, of which there are a dozen.
    budgets: HashMap<&'static str, LogBudget>,
}

impl Events {
    pub(super) fn new(link: &str) -> Self {
        Self {
            link: link.to_owned(),
            budgets: HashMap::new(),
        }
    }

    /// How many lines of this name were left out, when this one may be written.
    fn line(&mut self, event: &'static str, now: Duration) -> Option<u64> {
        self.budgets.entry(event).or_default().line(now)
    }

    pub(super) fn serving(&mut self, plan: &DhcpPlan) {
        let link = &self.link;
        info!(
            event = "dhcp.serving", link, client = %plan.client, address = %plan.address, server = %plan.server,
            "dhcp: {} is for {} on {link}", plan.address, plan.client
        );
    }

    pub(super) fn bad_search_domain(&mut self, domain: &str) {
        warn!(
            event = "dhcp.search-domain-left-out", link = self.link, domain = ?domain,
            "dhcp: search domain {domain:?} has no form in DNS and is left out"
        );
    }

    pub(super) fn replied(&mut self, now: Duration, reply: &Reply, request: &Request) {
        let address = reply.yiaddr;
        let (event, done) = match (reply.kind, request.kind) {
            (ReplyKind::Offer, _) => ("dhcp.offered", format!("is offered {address}")),
            (ReplyKind::Ack, Kind::Inform) => {
                ("dhcp.informed", "is told its network's settings".to_owned())
            }
            (ReplyKind::Ack, _) => ("dhcp.leased", format!("has {address}")),
            (ReplyKind::Nak, _) => ("dhcp.refused", "asked for a wrong address".to_owned()),
        };
        if let Some(left_out) = self.line(event, now) {
            let (to, link) = (reply.destination.socket_address(), &self.link);
            let client = reply.chaddr;
            info!(
                event, link, %client, %address, %to, left_out,
                "dhcp: {client} {done} on {link}"
            );
        }
    }

    pub(super) fn silent(&mut self, now: Duration, reason: Silence, request: &Request) {
        let event = match reason {
            Silence::Released => "dhcp.released",
            Silence::Declined => "dhcp.declined",
            Silence::OtherClient | Silence::OtherServer => "dhcp.not-ours",
        };
        let Some(left_out) = self.line(event, now) else {
            return;
        };
        let (link, client) = (&self.link, request.chaddr);
        match reason {
            Silence::Released => info!(
                event, link, %client, address = %request.ciaddr, left_out,
                "dhcp: {client} has given its address back on {link}"
            ),
            // Somebody else on the link answers ARP for the guest's address: the guest stays without.
            Silence::Declined => warn!(
                event, link, %client, left_out,
                "dhcp: {client} found its address in use by somebody else on {link}"
            ),
            Silence::OtherClient | Silence::OtherServer => {
                debug!(event, link, %client, %reason, left_out, "dhcp: silent to {client} on {link}: {reason}");
            }
        }
    }

    pub(super) fn ignored(&mut self, now: Duration, reason: Ignored) {
        if let Some(left_out) = self.line("dhcp.ignored", now) {
            let link = &self.link;
            debug!(event = "dhcp.ignored", link, %reason, left_out, "dhcp: ignored on {link}: {reason}");
        }
    }

    pub(super) fn flood(&mut self, now: Duration) {
        if let Some(left_out) = self.line("dhcp.flood", now) {
            let link = &self.link;
            warn!(
                event = "dhcp.flood",
                link, left_out, "dhcp: more requests on {link} than are answered"
            );
        }
    }

    pub(super) fn send_failed(&mut self, now: Duration, reply: &Reply, error: &io::Error) {
        if let Some(left_out) = self.line("dhcp.send-failed", now) {
            let to = reply.destination.socket_address();
            let link = &self.link;
            warn!(event = "dhcp.send-failed", link, %to, %error, left_out, "dhcp: no reply to {to} on {link}: {error}");
        }
    }

    pub(super) fn receive_failed(&mut self, now: Duration, error: &io::Error) {
        if let Some(left_out) = self.line("dhcp.receive-failed", now) {
            let link = &self.link;
            warn!(event = "dhcp.receive-failed", link, %error, left_out, "dhcp: cannot read on {link}, trying on: {error}");
        }
    }
}

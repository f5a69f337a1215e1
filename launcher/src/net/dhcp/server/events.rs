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
        info!(event = "dhcp.serving", link = self.link, client = %plan.client, address = %plan.address, server = %plan.server, "dhcp: served on {}", self.link);
    }

    pub(super) fn bad_search_domain(&mut self, domain: &str) {
        warn!(event = "dhcp.search-domain-left-out", link = self.link, domain = ?domain, "dhcp: a search domain is left out, as it is no domain name: {domain:?}");
    }

    pub(super) fn replied(&mut self, now: Duration, reply: &Reply, request: &Request) {
        let event = match (reply.kind, request.kind) {
            (ReplyKind::Offer, _) => "dhcp.offered",
            (ReplyKind::Ack, Kind::Inform) => "dhcp.informed",
            (ReplyKind::Ack, _) => "dhcp.leased",
            (ReplyKind::Nak, _) => "dhcp.refused",
        };
        if let Some(left_out) = self.line(event, now) {
            let to = reply.destination.socket_address();
            info!(event, link = self.link, client = %reply.chaddr, address = %reply.yiaddr, %to, left_out, "dhcp: {} {}", event.trim_start_matches("dhcp."), reply.yiaddr);
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
            Silence::Released => {
                info!(event, link, %client, address = %request.ciaddr, left_out, "dhcp: the guest gave {} back", request.ciaddr)
            }
            // Somebody else on the link answers ARP for the guest's address: the guest stays without.
            Silence::Declined => {
                warn!(event, link, %client, left_out, "dhcp: the guest declined its address: somebody else on {link} answers for it")
            }
            Silence::OtherClient | Silence::OtherServer => {
                debug!(event, link, %client, %reason, left_out, "dhcp: no answer to {client}: {reason}");
            }
        }
    }

    pub(super) fn ignored(&mut self, now: Duration, reason: Ignored) {
        if let Some(left_out) = self.line("dhcp.ignored", now) {
            debug!(event = "dhcp.ignored", link = self.link, %reason, left_out, "dhcp: a packet is ignored: {reason}");
        }
    }

    pub(super) fn flood(&mut self, now: Duration) {
        if let Some(left_out) = self.line("dhcp.flood", now) {
            warn!(
                event = "dhcp.flood",
                link = self.link,
                left_out,
                "dhcp: more requests on {} than are answered",
                self.link
            );
        }
    }

    pub(super) fn send_failed(&mut self, now: Duration, reply: &Reply, error: &io::Error) {
        if let Some(left_out) = self.line("dhcp.send-failed", now) {
            let to = reply.destination.socket_address();
            warn!(event = "dhcp.send-failed", link = self.link, %to, %error, left_out, "dhcp: cannot send to {to}");
        }
    }

    pub(super) fn receive_failed(&mut self, now: Duration, error: &io::Error) {
        if let Some(left_out) = self.line("dhcp.receive-failed", now) {
            warn!(event = "dhcp.receive-failed", link = self.link, %error, left_out, "dhcp: cannot receive on {}", self.link);
        }
    }
}

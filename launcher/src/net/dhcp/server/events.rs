//! What the server reports.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::answer::Silence;
use super::super::reply::{Reply, ReplyKind};
use super::super::request::{Kind, Request};
use crate::net::plan::DhcpPlan;
use crate::net::service::{Names, Report};

const NAMES: Names = Names {
    flood: "dhcp.flood",
    ignored: "dhcp.ignored",
    receive_failed: "dhcp.receive-failed",
    send_failed: "dhcp.send-failed",
};

pub(super) struct Events {
    pub(super) report: Report,
}

impl Events {
    pub(super) fn new(link: &str) -> Self {
        Self {
            report: Report::new(link, NAMES),
        }
    }

    pub(super) fn serving(&mut self, plan: &DhcpPlan) {
        info!(event = "dhcp.serving", link = self.report.link, client = %plan.client, address = %plan.address, server = %plan.server);
    }

    pub(super) fn bad_search_domain(&mut self, domain: &str) {
        warn!(event = "dhcp.search-domain-left-out", link = self.report.link, domain = ?domain);
    }

    pub(super) fn replied(&mut self, now: Duration, reply: &Reply, request: &Request) {
        let event = match (reply.kind, request.kind) {
            (ReplyKind::Offer, _) => "dhcp.offered",
            (ReplyKind::Ack, Kind::Inform) => "dhcp.informed",
            (ReplyKind::Ack, _) => "dhcp.leased",
            (ReplyKind::Nak, _) => "dhcp.refused",
        };
        if let Some(left_out) = self.report.line(event, now) {
            let to = reply.destination.socket_address();
            info!(event, link = self.report.link, client = %reply.chaddr, address = %reply.yiaddr, %to, left_out);
        }
    }

    pub(super) fn silent(&mut self, now: Duration, reason: Silence, request: &Request) {
        let event = match reason {
            Silence::Released => "dhcp.released",
            Silence::Declined => "dhcp.declined",
            Silence::OtherClient | Silence::OtherServer => "dhcp.not-ours",
        };
        let Some(left_out) = self.report.line(event, now) else {
            return;
        };
        let (link, client) = (&self.report.link, request.chaddr);
        match reason {
            Silence::Released => info!(event, link, %client, address = %request.ciaddr, left_out),
            // Somebody else on the link answers ARP for the guest's address: the guest stays without.
            Silence::Declined => warn!(event, link, %client, left_out),
            Silence::OtherClient | Silence::OtherServer => {
                debug!(event, link, %client, %reason, left_out);
            }
        }
    }
}

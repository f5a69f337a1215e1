//! What the server reports.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::answer::Silence;
use super::super::reply::{Reply, ReplyKind};
use super::super::request::{Kind, Request};
use crate::net::plan::DhcpPlan;
use crate::net::service::{Names, Report, Service};

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
            report: Report::new(Service::Dhcp, link, NAMES),
        }
    }

    pub(super) fn serving(&mut self, plan: &DhcpPlan) {
        let link = &self.report.link;
        info!(
            event = "dhcp.serving", link, client = %plan.client, address = %plan.address, server = %plan.server,
            "dhcp: {} is for {} on {link}", plan.address, plan.client
        );
    }

    pub(super) fn bad_search_domain(&mut self, domain: &str) {
        warn!(
            event = "dhcp.search-domain-left-out", link = self.report.link, domain = ?domain,
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
        if let Some(left_out) = self.report.line(event, now) {
            let (to, link) = (reply.destination.socket_address(), &self.report.link);
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
        let Some(left_out) = self.report.line(event, now) else {
            return;
        };
        let (link, client) = (&self.report.link, request.chaddr);
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
}

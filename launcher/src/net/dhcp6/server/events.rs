//! What the server reports.

use std::net::SocketAddrV6;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::answer::Silence;
use super::super::reply::{Reply, ReplyKind};
use super::super::request::{Kind, Request};
use crate::net::plan::Ipv6Plan;
use crate::net::service::{Names, Report};

const NAMES: Names = Names {
    flood: "dhcp6.flood",
    ignored: "dhcp6.ignored",
    receive_failed: "dhcp6.receive-failed",
    send_failed: "dhcp6.send-failed",
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

    pub(super) fn serving(&self, plan: &Ipv6Plan) {
        info!(event = "dhcp6.serving", link = self.report.link, address = %plan.address);
    }

    pub(super) fn replied(
        &mut self,
        now: Duration,
        reply: &Reply,
        request: &Request,
        plan: &Ipv6Plan,
        to: SocketAddrV6,
    ) {
        let event = match (reply.kind, request.kind) {
            (ReplyKind::Advertise, _) => "dhcp6.advertised",
            (ReplyKind::Reply, Kind::Confirm) => "dhcp6.confirmed",
            (ReplyKind::Reply, Kind::Release) => "dhcp6.released",
            (ReplyKind::Reply, Kind::Decline) => "dhcp6.declined",
            (ReplyKind::Reply, Kind::InformationRequest) => "dhcp6.informed",
            (ReplyKind::Reply, _) => "dhcp6.leased",
        };
        let Some(left_out) = self.report.line(event, now) else {
            return;
        };
        let (link, address) = (&self.report.link, plan.address.addr());
        match request.kind {
            // Somebody else on the link answers for the guest's address: the guest stays without.
            Kind::Decline => warn!(event, link, %address, %to, left_out),
            _ => info!(event, link, %address, %to, left_out),
        }
    }

    pub(super) fn silent(&mut self, now: Duration, reason: Silence, request: &Request) {
        let event = "dhcp6.not-ours";
        if let Some(left_out) = self.report.line(event, now) {
            debug!(event, link = self.report.link, kind = ?request.kind, %reason, left_out);
        }
    }
}

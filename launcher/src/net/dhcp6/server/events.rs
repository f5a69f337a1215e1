//! What the server reports.

use std::net::SocketAddrV6;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::super::answer::Silence;
use super::super::reply::{Reply, ReplyKind};
use super::super::request::{Kind, Request};
use crate::net::plan::Ipv6Plan;
use crate::net::service::{Names, Report, Service};

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
            report: Report::new(Service::Dhcp6, link, NAMES),
        }
    }

    pub(super) fn serving(&self, plan: &Ipv6Plan) {
        let link = &self.report.link;
        info!(
            event = "dhcp6.serving", link, address = %plan.address,
            "dhcpv6: {} is for whoever asks on {link}", plan.address
        );
    }

    pub(super) fn replied(
        &mut self,
        now: Duration,
        reply: &Reply,
        request: &Request,
        plan: &Ipv6Plan,
        to: SocketAddrV6,
    ) {
        let address = plan.address.addr();
        let (event, done) = match (reply.kind, request.kind) {
            (ReplyKind::Advertise, _) => ("dhcp6.advertised", "is offered"),
            (ReplyKind::Reply, Kind::Confirm) => ("dhcp6.confirmed", "asked whether it still has"),
            (ReplyKind::Reply, Kind::Release) => ("dhcp6.released", "has given back"),
            (ReplyKind::Reply, Kind::Decline) => ("dhcp6.declined", "found somebody else with"),
            (ReplyKind::Reply, Kind::InformationRequest) => {
                ("dhcp6.informed", "is told its network's settings beside")
            }
            (ReplyKind::Reply, _) => ("dhcp6.leased", "has"),
        };
        let Some(left_out) = self.report.line(event, now) else {
            return;
        };
        let link = &self.report.link;
        match request.kind {
            // Somebody else on the link answers for the guest's address: the guest stays without.
            Kind::Decline => warn!(
                event, link, %address, %to, left_out,
                "dhcpv6: {to} {done} {address} on {link}"
            ),
            _ => info!(
                event, link, %address, %to, left_out,
                "dhcpv6: {to} {done} {address} on {link}"
            ),
        }
    }

    pub(super) fn silent(&mut self, now: Duration, reason: Silence, request: &Request) {
        let event = "dhcp6.not-ours";
        if let Some(left_out) = self.report.line(event, now) {
            let link = &self.report.link;
            debug!(
                event, link, kind = ?request.kind, %reason, left_out,
                "dhcpv6: silent on {link}: {reason}"
            );
        }
    }
}

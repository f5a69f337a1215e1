//! The loop around the pure parts.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::time::sleep_until;
use tracing::info;

use super::advertisement::advertisement;
use super::schedule::Schedule;
use super::socket::{self, ALL_NODES, Icmp6};
use super::solicitation::{Ignored, Solicitation};
use crate::net::plan::Ipv6Plan;
use crate::net::service::{Intake, Names, Report, Service, ServiceError};

/// A solicitation has room for little more than a link-layer address; what is longer is cut and then refused.
const LONGEST_SOLICITATION: usize = 512;

const NAMES: Names = Names {
    flood: "ra.flood",
    ignored: "ra.ignored",
    receive_failed: "ra.receive-failed",
    send_failed: "ra.send-failed",
};

/// An open socket and what it tells.
#[derive(Debug)]
pub struct Server {
    socket: OwnedFd,
    plan: Ipv6Plan,
}

impl Server {
    /// Opens a raw socket on the plan's link, which must exist and be up. Needs no runtime, but CAP_NET_RAW; serving
    /// takes nothing, so the socket can be made early and kept as an fd over the fall of privileges and the
    /// supervisor's death.
    pub fn bind(plan: &Ipv6Plan) -> Result<Self, ServiceError> {
        Ok(Self {
            socket: socket::open(&plan.link)?,
            plan: plan.clone(),
        })
    }

    /// Takes up a socket that an earlier [`Server::bind`] made and somebody kept.
    pub fn from_fd(fd: OwnedFd, plan: Ipv6Plan) -> Result<Self, ServiceError> {
        if socket::is_ours(&fd, &plan.link) {
            Ok(Self { socket: fd, plan })
        } else {
            Err(ServiceError::Foreign {
                service: Service::RouterAdvertisement,
                fd: fd.as_raw_fd(),
                link: plan.link,
            })
        }
    }

    /// The link that it serves.
    pub fn link(&self) -> &str {
        &self.plan.link
    }

    /// Gives the socket away, to be kept.
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Advertises until the socket is gone for good: only then does it return. Dropping the future stops it.
    pub async fn serve(self) -> ServiceError {
        let Self { socket, plan } = self;
        let source = match Icmp6::new(socket, &plan.link) {
            Ok(socket) => Serving::new(socket, &plan).run().await,
            Err(source) => source,
        };
        ServiceError::Receive {
            service: Service::RouterAdvertisement,
            link: plan.link,
            source,
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Serving {
    intake: Intake<Icmp6>,
    schedule: Schedule,
    message: Vec<u8>,
    chance: RandomState,
    report: Report,
}

impl Serving {
    fn new(socket: Icmp6, plan: &Ipv6Plan) -> Self {
        let report = Report::new(Service::RouterAdvertisement, &plan.link, NAMES);
        let (link, prefix) = (&plan.link, plan.address.trunc());
        info!(
            event = "ra.serving", link, %prefix, mtu = plan.mtu,
            "router advertisement: {prefix} is on {link}"
        );
        Self {
            intake: Intake::new(socket),
            schedule: Schedule::new(Duration::ZERO),
            message: advertisement(plan),
            chance: RandomState::new(),
            report,
        }
    }

    /// Until an error that waiting does not mend.
    async fn run(&mut self) -> io::Error {
        let mut buffer = [0; LONGEST_SOLICITATION];
        loop {
            let due = self.intake.moment(self.schedule.due());
            let report = &mut self.report;
            let received = tokio::select! {
                received = self.intake.next(&mut buffer, |now, trouble| report.trouble(now, &trouble)) => Some(received),
                () = sleep_until(due) => None,
            };
            match received {
                Some(Ok((length, (source, hop_limit)))) => {
                    self.handle(Solicitation::parse(&buffer[..length], source, hop_limit));
                }
                Some(Err(error)) => return error,
                None => self.advertise(),
            }
        }
    }

    fn handle(&mut self, solicitation: Result<Solicitation, Ignored>) {
        let now = self.intake.now();
        match solicitation {
            Ok(Solicitation { from: Some(host) }) => self.send(host, "ra.answered"),
            Ok(Solicitation { from: None }) => self.schedule.solicited(now),
            Err(reason) => self.report.ignored(now, &reason),
        }
    }

    fn advertise(&mut self) {
        self.send(ALL_NODES, "ra.advertised");
        let now = self.intake.now();
        // Only spread, never secret.
        let [.., a, b, c, d] = self.chance.hash_one(now).to_be_bytes();
        self.schedule.sent(now, u32::from_be_bytes([a, b, c, d]));
    }

    /// An advertisement that cannot be sent is lost: the host asks again, or the next one comes by itself.
    fn send(&mut self, to: Ipv6Addr, event: &'static str) {
        let sent = self.intake.source().send(&self.message, to);
        let now = self.intake.now();
        match sent {
            Ok(()) => {
                if let Some(left_out) = self.report.line(event, now) {
                    let link = &self.report.link;
                    info!(event, link, %to, left_out, "router advertisement: sent to {to} on {link}");
                }
            }
            Err(error) => self.report.send_failed(now, &to, &error),
        }
    }
}

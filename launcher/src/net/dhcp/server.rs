//! The socket, and the loop around the pure parts.
//!
//! Binding port 67 takes CAP_NET_BIND_SERVICE, so the socket can be made early and kept as an fd over the fall of
//! privileges and the supervisor's death; serving takes nothing.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dhcproto::v4::SERVER_PORT;
use nix::sys::socket::{self, AddressFamily, SockType, SockaddrIn, sockopt};

use super::answer::{Outcome, decide};
use super::request::Request;
use crate::net::domain;
use crate::net::plan::DhcpPlan;
use crate::net::service::{
    Datagrams, Opening, Protocol, Report, Service, ServiceError, is_on, serve,
};

mod events;

use events::Events;

/// A bound socket and the lease that it gives.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    plan: DhcpPlan,
}

impl Server {
    /// Binds port 67 on the plan's link, which must exist. Needs no runtime.
    pub fn bind(plan: &DhcpPlan) -> Result<Self, ServiceError> {
        let opening = opening(&plan.link);
        let fd = opening.socket(AddressFamily::Inet, SockType::Datagram, None)?;
        // One server a bridge, all on one port: the kernel hands a datagram to the socket of its link (socket(7)).
        opening.set(&fd, sockopt::ReuseAddr, &true, "SO_REUSEADDR")?;
        opening.set(&fd, sockopt::Broadcast, &true, "SO_BROADCAST")?;
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        socket::bind(fd.as_raw_fd(), &any)
            .map_err(|errno| opening.cannot_bind(SERVER_PORT, errno))?;
        Ok(Self::new(UdpSocket::from(fd), plan.clone()))
    }

    /// Takes up a socket that an earlier [`Server::bind`] made and somebody kept.
    pub fn from_fd(fd: OwnedFd, plan: DhcpPlan) -> Result<Self, ServiceError> {
        let number = fd.as_raw_fd();
        let on_link = is_on(&fd, SockType::Datagram, &plan.link);
        let socket = UdpSocket::from(fd);
        let address = socket.local_addr();
        if !on_link || !address.is_ok_and(|at| at.is_ipv4() && at.port() == SERVER_PORT) {
            return Err(ServiceError::Foreign {
                service: Service::Dhcp,
                fd: number,
                link: plan.link,
            });
        }
        Ok(Self::new(socket, plan))
    }

    fn new(socket: UdpSocket, plan: DhcpPlan) -> Self {
        Self { socket, plan }
    }

    /// The link that it serves.
    pub fn link(&self) -> &str {
        &self.plan.link
    }

    /// Gives the socket away, to be kept.
    pub fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    /// Answers until the socket is gone for good: only then does it return. Dropping the future stops it.
    pub async fn serve(self) -> ServiceError {
        serve(self.socket, Serving::new(self.plan)).await
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn opening(link: &str) -> Opening<'_> {
    Opening {
        service: Service::Dhcp,
        link,
    }
}

struct Serving {
    plan: DhcpPlan,
    events: Events,
}

impl Serving {
    fn new(plan: DhcpPlan) -> Self {
        let mut events = Events::new(&plan.link);
        events.serving(&plan);
        for name in plan
            .search
            .iter()
            .filter(|name| domain::wire(name).is_none())
        {
            events.bad_search_domain(name);
        }
        Self { plan, events }
    }
}

impl Protocol for Serving {
    fn report(&mut self) -> &mut Report {
        &mut self.events.report
    }

    /// Whom the reply is for stands in the request alone.
    async fn handle(&mut self, datagrams: &Datagrams, request: &[u8], _: SocketAddr) {
        let now = datagrams.now();
        match Request::parse(request) {
            Err(reason) => self.events.report.ignored(now, &reason),
            Ok(request) => match decide(&self.plan, &request) {
                Outcome::Silence(reason) => self.events.silent(now, reason, &request),
                Outcome::Reply(reply) => {
                    let to = reply.destination.socket_address().into();
                    match datagrams.reply(reply.encode(), to).await {
                        Ok(()) => self.events.replied(now, &reply, &request),
                        Err(error) => self.events.report.send_failed(now, &to, &error),
                    }
                }
            },
        }
    }
}

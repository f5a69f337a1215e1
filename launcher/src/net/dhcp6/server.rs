//! The socket, and the loop around the pure parts.
//!
//! Binding port 547 takes CAP_NET_BIND_SERVICE, so the socket can be made early and kept as an fd over the fall of
//! privileges and the supervisor's death; serving takes nothing.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dhcproto::v6::{CLIENT_PORT, SERVER_PORT};
use nix::sys::socket::{self, AddressFamily, SockType, SockaddrIn6, sockopt};

use super::answer::{Outcome, decide};
use super::request::Request;
use crate::net::plan::Ipv6Plan;
use crate::net::service::{
    Datagrams, Opening, Protocol, Report, Service, ServiceError, is_on, serve,
};

mod events;

use events::Events;

/// All_DHCP_Relay_Agents_and_Servers (RFC 8415 7.1): where clients ask.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// A bound socket and what it tells.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    plan: Ipv6Plan,
}

impl Server {
    /// Binds port 547 on the plan's link, which must exist and be up. Needs no runtime.
    pub fn bind(plan: &Ipv6Plan) -> Result<Self, ServiceError> {
        let opening = Opening {
            service: Service::Dhcp6,
            link: &plan.link,
        };
        let fd = opening.socket(AddressFamily::Inet6, SockType::Datagram, None)?;
        opening.set(&fd, sockopt::ReuseAddr, &true, "SO_REUSEADDR")?;
        opening.set(&fd, sockopt::Ipv6V6Only, &true, "IPV6_V6ONLY")?;
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0);
        socket::bind(fd.as_raw_fd(), &SockaddrIn6::from(any))
            .map_err(|errno| opening.cannot_bind(SERVER_PORT, errno))?;
        let socket = UdpSocket::from(opening.join(fd, &SERVERS)?);
        Ok(Self {
            socket,
            plan: plan.clone(),
        })
    }

    /// Takes up a socket that an earlier [`Server::bind`] made and somebody kept.
    pub fn from_fd(fd: OwnedFd, plan: Ipv6Plan) -> Result<Self, ServiceError> {
        let number = fd.as_raw_fd();
        let on_link = is_on(&fd, SockType::Datagram, &plan.link);
        let socket = UdpSocket::from(fd);
        let address = socket.local_addr();
        if !on_link || !address.is_ok_and(|at| at.is_ipv6() && at.port() == SERVER_PORT) {
            return Err(ServiceError::Foreign {
                service: Service::Dhcp6,
                fd: number,
                link: plan.link,
            });
        }
        Ok(Self { socket, plan })
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

struct Serving {
    plan: Ipv6Plan,
    events: Events,
}

impl Serving {
    fn new(plan: Ipv6Plan) -> Self {
        let events = Events::new(&plan.link);
        events.serving(&plan);
        Self { plan, events }
    }
}

impl Protocol for Serving {
    fn report(&mut self) -> &mut Report {
        &mut self.events.report
    }

    async fn handle(&mut self, datagrams: &Datagrams, request: &[u8], from: SocketAddr) {
        let now = datagrams.now();
        let Some(client) = client(from) else {
            self.events.report.ignored(now, &"not from the link");
            return;
        };
        match Request::parse(request) {
            Err(reason) => self.events.report.ignored(now, &reason),
            Ok(request) => match decide(&self.plan, &request) {
                Outcome::Silence(reason) => self.events.silent(now, reason, &request),
                Outcome::Reply(reply) => match datagrams.reply(reply.encode(), client.into()).await
                {
                    Ok(()) => self
                        .events
                        .replied(now, &reply, &request, &self.plan, client),
                    Err(error) => self.events.report.send_failed(now, &client, &error),
                },
            },
        }
    }
}

/// Where the reply goes: a client asks from a link-local address (RFC 8415 17.1, 18), which no router lets through, so
/// nobody but the guest can be it, and is answered at the client's port whatever it wrote (RFC 8415 7.2).
fn client(from: SocketAddr) -> Option<SocketAddrV6> {
    match from {
        SocketAddr::V6(from) if from.ip().is_unicast_link_local() => Some(SocketAddrV6::new(
            *from.ip(),
            CLIENT_PORT,
            0,
            from.scope_id(),
        )),
        _ => None,
    }
}

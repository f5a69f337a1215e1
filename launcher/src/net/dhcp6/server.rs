//! The socket, and the loop around the pure parts.
//!
//! Binding port 547 takes CAP_NET_BIND_SERVICE, so the socket can be made early and kept as an fd over the fall of
//! privileges and the supervisor's death; serving takes nothing.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dhcproto::v6::{CLIENT_PORT, SERVER_PORT};
use nix::sys::socket::{self, AddressFamily, SockType, SockaddrIn6, sockopt};

use super::answer::{Outcome, decide};
use super::reply::Reply;
use super::request::Request;
use crate::net::plan::Ipv6Plan;
use crate::net::service::{Intake, Opening, Service, ServiceError, is_on};

mod events;

use events::Events;

/// All_DHCP_Relay_Agents_and_Servers (RFC 8415 7.1): where clients ask.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// A request is one frame of the link; what is longer is cut and then refused by the parser.
const LONGEST_REQUEST: usize = 2048;

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

    /// Answers clients until the socket is gone for good: only then does it return. Dropping the future stops it.
    pub async fn serve(self) -> ServiceError {
        let Self { socket, plan } = self;
        let failed = |link, source| ServiceError::Receive {
            service: Service::Dhcp6,
            link,
            source,
        };
        // The descriptor may come from somebody who made it blocking.
        let registered = socket
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UdpSocket::from_std(socket));
        let mut serving = match registered {
            Ok(socket) => Serving::new(socket, plan),
            Err(source) => return failed(plan.link, source),
        };
        let source = serving.run().await;
        failed(serving.plan.link, source)
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Serving {
    intake: Intake<tokio::net::UdpSocket>,
    plan: Ipv6Plan,
    events: Events,
}

impl Serving {
    fn new(socket: tokio::net::UdpSocket, plan: Ipv6Plan) -> Self {
        let events = Events::new(&plan.link);
        events.serving(&plan);
        Self {
            intake: Intake::new(socket),
            plan,
            events,
        }
    }

    /// Until an error that waiting does not mend.
    async fn run(&mut self) -> io::Error {
        let mut buffer = [0; LONGEST_REQUEST];
        loop {
            let report = &mut self.events.report;
            let received = self
                .intake
                .next(&mut buffer, |now, trouble| report.trouble(now, &trouble))
                .await;
            match received {
                Ok((length, from)) => self.handle(&buffer[..length], from).await,
                Err(error) => return error,
            }
        }
    }

    async fn handle(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = self.intake.now();
        let Some(client) = client(from) else {
            self.events.report.ignored(now, &"not from the link");
            return;
        };
        match Request::parse(datagram) {
            Err(reason) => self.events.report.ignored(now, &reason),
            Ok(request) => match decide(&self.plan, &request) {
                Outcome::Silence(reason) => self.events.silent(now, reason, &request),
                Outcome::Reply(reply) => self.send(&reply, &request, client).await,
            },
        }
    }

    /// A reply that cannot be sent is lost: the client's own retransmission brings the next try.
    async fn send(&mut self, reply: &Reply, request: &Request, to: SocketAddrV6) {
        let sent = match reply.encode() {
            Ok(bytes) => self.intake.source().send_to(&bytes, to).await.map(drop),
            Err(error) => Err(io::Error::other(error)),
        };
        let now = self.intake.now();
        match sent {
            Ok(()) => self.events.replied(now, reply, request, &self.plan, to),
            Err(error) => self.events.report.send_failed(now, &to, &error),
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

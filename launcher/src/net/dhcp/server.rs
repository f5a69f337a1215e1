//! The socket, and the loop around the pure parts.
//!
//! Binding port 67 takes CAP_NET_BIND_SERVICE, so the socket can be made early and kept as an fd over the fall of
//! privileges and the supervisor's death; serving takes nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use dhcproto::v4::SERVER_PORT;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use tokio::time::{Instant, sleep};

use super::answer::{Outcome, Silence, decide};
use super::budget::TokenBucket;
use super::options::search_list;
use super::reply::Reply;
use super::request::{Ignored, Request};
use crate::net::plan::DhcpPlan;

mod events;

use events::Events;

/// A request is one frame of the link; what is longer is cut and then refused by the parser.
const LONGEST_REQUEST: usize = 2048;
/// Requests that wait in the kernel, in bytes of its accounting: a few dozen. A flood is dropped there, unread.
const BACKLOG: usize = 32 * 1024;
/// A client's whole start is four messages.
const BURST: u32 = 32;
const INTERVAL: Duration = Duration::from_millis(50);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// Why there is no server. The guest runs on without one: it keeps what it was given.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// No socket.
    #[error("no udp socket for dhcp")]
    Socket {
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// An option of the socket was refused.
    #[error("socket option `{option}` cannot be set on the dhcp socket of `{link}`")]
    Option {
        /// The kernel's name for it.
        option: &'static str,
        /// The link to serve.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The port is taken or not allowed.
    #[error(
        "udp port {SERVER_PORT} cannot be bound on `{link}`; hint: it takes CAP_NET_BIND_SERVICE"
    )]
    Bind {
        /// The link to serve.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A kept fd that is not what [`Server::bind`] made.
    #[error("fd {fd} is not the dhcp socket of `{link}`")]
    Foreign {
        /// The fd's number.
        fd: i32,
        /// The link to serve.
        link: String,
    },
    /// The socket is gone for good.
    #[error("the dhcp socket of `{link}` cannot be read any more")]
    Receive {
        /// The link that was served.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// A bound socket and the lease that it gives.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    plan: DhcpPlan,
}

impl Server {
    /// Binds port 67 on the plan's link, which must exist. Needs no runtime.
    pub fn bind(plan: &DhcpPlan) -> Result<Self, DhcpError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(AddressFamily::Inet, SockType::Datagram, flags, None).map_err(
            |errno| DhcpError::Socket {
                source: errno.into(),
            },
        )?;
        set_options(&fd, &plan.link)?;
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        socket::bind(fd.as_raw_fd(), &any).map_err(|errno| DhcpError::Bind {
            link: plan.link.clone(),
            source: errno.into(),
        })?;
        Ok(Self::new(UdpSocket::from(fd), plan.clone()))
    }

    /// Takes up a socket that an earlier [`Server::bind`] made and somebody kept.
    pub fn from_fd(fd: OwnedFd, plan: DhcpPlan) -> Result<Self, DhcpError> {
        let datagram = socket::getsockopt(&fd, sockopt::SockType) == Ok(SockType::Datagram);
        let device = socket::getsockopt(&fd, sockopt::BindToDevice).ok();
        let number = fd.as_raw_fd();
        let socket = UdpSocket::from(fd);
        let port = socket.local_addr().map(|address| address.port());
        let ours = datagram
            && device.is_some_and(|device| device.to_str() == Some(plan.link.as_str()))
            && matches!(port, Ok(SERVER_PORT));
        if !ours {
            return Err(DhcpError::Foreign {
                fd: number,
                link: plan.link,
            });
        }
        socket
            .set_nonblocking(true)
            .map_err(|source| DhcpError::Option {
                option: "O_NONBLOCK",
                link: plan.link.clone(),
                source,
            })?;
        Ok(Self::new(socket, plan))
    }

    fn new(socket: UdpSocket, plan: DhcpPlan) -> Self {
        Self { socket, plan }
    }

    /// Gives the socket away, to be kept.
    pub fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    /// Answers the client until the socket is gone for good: only then does it return. Dropping the future stops it.
    pub async fn serve(self) -> DhcpError {
        let Self { socket, plan } = self;
        let mut service = match tokio::net::UdpSocket::from_std(socket) {
            Ok(socket) => Service::new(socket, plan),
            Err(source) => return DhcpError::Socket { source },
        };
        let source = service.run().await;
        DhcpError::Receive {
            link: service.plan.link,
            source,
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn set_options(fd: &OwnedFd, link: &str) -> Result<(), DhcpError> {
    let named = |option| {
        move |errno: Errno| DhcpError::Option {
            option,
            link: link.to_owned(),
            source: errno.into(),
        }
    };
    // One server a bridge, all on one port: the kernel hands a datagram to the socket of its link (socket(7)).
    socket::setsockopt(fd, sockopt::ReuseAddr, &true).map_err(named("SO_REUSEADDR"))?;
    // Both ways: nothing from other links comes in, and no reply leaves by another, whatever the guest makes it say.
    // Without privilege since Linux 5.7, as long as the socket is bound to none yet.
    let device = std::ffi::OsString::from(link);
    socket::setsockopt(fd, sockopt::BindToDevice, &device).map_err(named("SO_BINDTODEVICE"))?;
    socket::setsockopt(fd, sockopt::Broadcast, &true).map_err(named("SO_BROADCAST"))?;
    socket::setsockopt(fd, sockopt::RcvBuf, &BACKLOG).map_err(named("SO_RCVBUF"))
}

struct Service {
    socket: tokio::net::UdpSocket,
    plan: DhcpPlan,
    started: Instant,
    budget: TokenBucket,
    events: Events,
}

impl Service {
    fn new(socket: tokio::net::UdpSocket, plan: DhcpPlan) -> Self {
        let mut events = Events::new(&plan.link);
        events.serving(&plan);
        for domain in &plan.search {
            if search_list(std::slice::from_ref(domain)).is_empty() {
                events.bad_search_domain(domain);
            }
        }
        Self {
            socket,
            plan,
            started: Instant::now(),
            budget: TokenBucket::new(BURST, INTERVAL),
            events,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Until an error that waiting does not mend.
    async fn run(&mut self) -> io::Error {
        let mut buffer = [0; LONGEST_REQUEST];
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, _)) => {
                    backoff = FIRST_BACKOFF;
                    self.wait_for_budget().await;
                    self.handle(&buffer[..length]).await;
                }
                Err(error) if is_final(&error) => return error,
                // ENETDOWN, ENOBUFS, ENOMEM and their like pass; the kernel has no event that says when.
                Err(error) => {
                    self.events.receive_failed(self.now(), &error);
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }

    /// Under a flood the datagrams wait, and then drop, in the kernel, which is cheaper than to read them.
    async fn wait_for_budget(&mut self) {
        while let Err(wait) = self.budget.take(self.now()) {
            self.events.flood(self.now());
            sleep(wait).await;
        }
    }

    async fn handle(&mut self, datagram: &[u8]) {
        match Request::parse(datagram) {
            Err(reason) => self.ignored(reason),
            Ok(request) => match decide(&self.plan, &request) {
                Outcome::Silence(reason) => self.silent(reason, &request),
                Outcome::Reply(reply) => self.send(&reply, &request).await,
            },
        }
    }

    fn ignored(&mut self, reason: Ignored) {
        self.events.ignored(self.now(), reason);
    }

    fn silent(&mut self, reason: Silence, request: &Request) {
        self.events.silent(self.now(), reason, request);
    }

    /// A reply that cannot be sent is lost: the client's own retransmission brings the next try.
    async fn send(&mut self, reply: &Reply, request: &Request) {
        let to = reply.destination.socket_address();
        let sent = match reply.encode() {
            Ok(bytes) => self.socket.send_to(&bytes, to).await.map(drop),
            Err(error) => Err(io::Error::other(error)),
        };
        match sent {
            Ok(()) => self.events.replied(self.now(), reply, request),
            Err(error) => self.events.send_failed(self.now(), reply, &error),
        }
    }
}

/// The fd is no socket that can be read: our own doing, and no wait helps.
fn is_final(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT | Errno::EINVAL)
    )
}

//! A raw ICMPv6 socket that hears router solicitations of one link and nothing else.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    self, AddressFamily, ControlMessageOwned, MsgFlags, SockProtocol, SockType, SockaddrIn6,
    sockopt,
};
use nix::{setsockopt_impl, sockopt_impl};

use super::solicitation::{HOP_LIMIT, ROUTER_SOLICITATION};
use crate::net::service::{Opening, Service, ServiceError, Source, is_on};
use crate::readable::Readable;

/// Where hosts ask, and where they are told (RFC 4291 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// `linux/icmpv6.h`; a set bit keeps a type away, the opposite of RFC 3542's words.
const ICMP6_FILTER: libc::c_int = 1;
sockopt_impl!(
    /// Which types come in.
    Icmp6Filter,
    SetOnly,
    libc::IPPROTO_ICMPV6,
    ICMP6_FILTER,
    [u32; 8]
);

/// Makes the socket. It takes CAP_NET_RAW; to use it takes nothing.
pub(super) fn open(link: &str) -> Result<OwnedFd, ServiceError> {
    let opening = Opening {
        service: Service::RouterAdvertisement,
        link,
    };
    let protocol = Some(SockProtocol::IcmpV6);
    let fd = opening.socket(AddressFamily::Inet6, SockType::Raw, protocol)?;
    // Everything that pings or resolves would come in too.
    let mut closed = [u32::MAX; 8];
    closed[usize::from(ROUTER_SOLICITATION / 32)] &= !(1 << (ROUTER_SOLICITATION % 32));
    opening.set(&fd, Icmp6Filter, &closed, "ICMP6_FILTER")?;
    opening.set(&fd, sockopt::Ipv6RecvHopLimit, &true, "IPV6_RECVHOPLIMIT")?;
    let hops = libc::c_int::from(HOP_LIMIT);
    opening.set(&fd, sockopt::Ipv6Ttl, &hops, "IPV6_UNICAST_HOPS")?;
    opening.set(
        &fd,
        sockopt::Ipv6MulticastHops,
        &hops,
        "IPV6_MULTICAST_HOPS",
    )?;
    opening.join(fd, &ALL_ROUTERS)
}

/// Whether a kept fd is what [`open`] made.
pub(super) fn is_ours(fd: &OwnedFd, link: &str) -> bool {
    is_on(fd, SockType::Raw, link)
}

/// The socket within a runtime.
pub(super) struct Icmp6 {
    file: Readable,
    scope: u32,
}

impl Icmp6 {
    pub(super) fn new(fd: OwnedFd, link: &str) -> io::Result<Self> {
        Ok(Self {
            scope: if_nametoindex(link)?,
            file: Readable::new(fd)?,
        })
    }

    /// The kernel adds the checksum and takes the link's own link-local address as source.
    pub(super) fn send(&self, message: &[u8], to: Ipv6Addr) -> io::Result<()> {
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.scope));
        let fd = std::os::fd::AsFd::as_fd(&self.file).as_raw_fd();
        socket::sendto(fd, message, &to, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

impl Source for Icmp6 {
    /// The IP header's source and hop limit.
    type From = (Ipv6Addr, Option<u8>);

    async fn ready(&self) -> io::Result<()> {
        self.file.ready().await.map(drop)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::From)> {
        self.file.try_read(|fd| {
            let mut control = nix::cmsg_space!(libc::c_int);
            let mut parts = [io::IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let message = socket::recvmsg::<SockaddrIn6>(
                fd.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                flags,
            )?;
            let hop_limit = message.cmsgs()?.find_map(|said| match said {
                ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
                _ => None,
            });
            let source = message
                .address
                .map_or(Ipv6Addr::UNSPECIFIED, |address| address.ip());
            Ok((message.bytes, (source, hop_limit)))
        })
    }
}

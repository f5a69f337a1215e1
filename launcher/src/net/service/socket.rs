//! Sockets that are bound to one link.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    self, AddressFamily, SetSockOpt, SockFlag, SockProtocol, SockType, sockopt,
};

use super::error::{Service, ServiceError};

/// Messages that wait in the kernel, in bytes of its accounting: a few dozen. A flood is dropped there, unread.
const BACKLOG: usize = 32 * 1024;

/// A socket on its way to being bound: each refusal says whose it is.
pub(in crate::net) struct Opening<'a> {
    pub(in crate::net) service: Service,
    pub(in crate::net) link: &'a str,
}

impl Opening<'_> {
    /// A socket that never blocks, hears and speaks on this link only, and queues little.
    pub(in crate::net) fn socket(
        &self,
        family: AddressFamily,
        kind: SockType,
        protocol: Option<SockProtocol>,
    ) -> Result<OwnedFd, ServiceError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(family, kind, flags, protocol).map_err(|errno| {
            ServiceError::Socket {
                service: self.service,
                link: self.link.to_owned(),
                source: errno.into(),
            }
        })?;
        // Both ways: nothing from other links comes in, and no reply leaves by another, whatever the guest makes it say.
        // Without privilege since Linux 5.7, as long as the socket is bound to none yet.
        let device = OsString::from(self.link);
        self.set(&fd, sockopt::BindToDevice, &device, "SO_BINDTODEVICE")?;
        self.set(&fd, sockopt::RcvBuf, &BACKLOG, "SO_RCVBUF")?;
        Ok(fd)
    }

    pub(in crate::net) fn set<O: SetSockOpt>(
        &self,
        fd: &OwnedFd,
        option: O,
        value: &O::Val,
        name: &'static str,
    ) -> Result<(), ServiceError> {
        socket::setsockopt(fd, option, value)
            .map_err(|errno| self.option_failed(name, errno.into()))
    }

    /// Takes part in a multicast group of the link. That the socket is bound to it does not tell the kernel which one is
    /// meant.
    pub(in crate::net) fn join(
        &self,
        fd: OwnedFd,
        group: &Ipv6Addr,
    ) -> Result<OwnedFd, ServiceError> {
        // Of any IPv6 socket; nix's own option has no room for a link.
        let socket = UdpSocket::from(fd);
        if_nametoindex(self.link)
            .map_err(io::Error::from)
            .and_then(|index| socket.join_multicast_v6(group, index))
            .map_err(|source| self.option_failed("IPV6_ADD_MEMBERSHIP", source))?;
        Ok(socket.into())
    }

    fn option_failed(&self, option: &'static str, source: io::Error) -> ServiceError {
        ServiceError::Option {
            service: self.service,
            option,
            link: self.link.to_owned(),
            source,
        }
    }

    pub(in crate::net) fn cannot_bind(&self, port: u16, errno: Errno) -> ServiceError {
        ServiceError::Bind {
            service: self.service,
            port,
            link: self.link.to_owned(),
            source: errno.into(),
        }
    }
}

/// Whether a kept fd is a socket of this kind that is bound to `link`.
pub(in crate::net) fn is_on(fd: &impl AsFd, kind: SockType, link: &str) -> bool {
    let device = socket::getsockopt(fd, sockopt::BindToDevice).ok();
    socket::getsockopt(fd, sockopt::SockType) == Ok(kind)
        && device.is_some_and(|device| device.to_str() == Some(link))
}

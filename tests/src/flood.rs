//! What a guest that asks without end costs: senders of DHCPv6 and router solicitations, and the kernel's own counts of what
//! became of them.

use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
    socket, sockopt,
};

/// All servers and relays of DHCPv6 on a link (RFC 8415, 7.1), and all its routers (RFC 4291, 2.7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x0001, 0x0002);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// A well-formed solicitation of DHCPv6: a client's identifier and one association.
const SOLICIT: [u8; 28] = [
    1, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1, 0, 3, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// A router solicitation without options.
const ROUTER_SOLICIT: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

/// Asks for an address and for a router.
#[derive(Debug)]
pub struct Asking {
    dhcp6: UdpSocket,
    icmp6: OwnedFd,
    servers: SocketAddrV6,
    routers: SockaddrIn6,
}

impl Asking {
    /// From a link of this thread's network namespace and its link-local address.
    pub fn on(link: &str, from: Ipv6Addr) -> Result<Self> {
        let link = nix::net::if_::if_nametoindex(link)?;
        let icmp6 = socket(
            AddressFamily::Inet6,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::IcmpV6,
        )?;
        setsockopt(&icmp6, sockopt::Ipv6MulticastHops, &255)?;
        Ok(Self {
            dhcp6: UdpSocket::bind(SocketAddrV6::new(from, 0, 0, link))?,
            icmp6,
            servers: SocketAddrV6::new(SERVERS, 547, 0, link),
            routers: SocketAddrV6::new(ROUTERS, 0, 0, link).into(),
        })
    }

    /// One of each.
    pub fn ask(&self) -> Result<()> {
        self.dhcp6.send_to(&SOLICIT, self.servers)?;
        // A full queue on the way is no reason to stop.
        let (raw, none) = (self.icmp6.as_raw_fd(), MsgFlags::empty());
        let _lost = sendto(raw, &ROUTER_SOLICIT, &self.routers, none);
        Ok(())
    }
}

/// Messages of one protocol in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// That somebody read, or that wait to be read.
    pub taken: u64,
    /// That were dropped because nobody read them.
    pub dropped: u64,
}

impl Counts {
    /// DHCPv4, DHCPv6 and router solicitations as the kernel has counted them where process `pid` is.
    pub fn of(pid: i32) -> Result<[Self; 3]> {
        let net = |file| {
            let path = format!("/proc/{pid}/net/{file}");
            fs::read_to_string(&path).with_context(|| path)
        };
        let (snmp, snmp6, raw6) = (net("snmp")?, net("snmp6")?, net("raw6")?);
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let names = udp.next().context("Udp")?.split(' ');
        let udp: Vec<_> = names.zip(udp.next().context("Udp")?.split(' ')).collect();
        let udp = |name| -> Result<u64> {
            let found = udp.iter().find(|(its, _)| *its == name);
            Ok(found.context(name)?.1.parse()?)
        };
        let v6 = |name: &str| -> Result<u64> {
            let mut lines = snmp6.lines().map(|line| line.split_whitespace());
            // A kind of ICMPv6 message that never came has no line.
            let value = lines.find_map(|mut line| (line.next()? == name).then(|| line.next())?);
            Ok(value.unwrap_or("0").parse()?)
        };
        let mut unread = 0;
        for line in raw6.lines().skip(1) {
            unread += line
                .split_whitespace()
                .last()
                .context("drops")?
                .parse::<u64>()?;
        }
        Ok([
            Self {
                taken: udp("InDatagrams")?,
                dropped: udp("RcvbufErrors")?,
            },
            Self {
                taken: v6("Udp6InDatagrams")?,
                dropped: v6("Udp6RcvbufErrors")?,
            },
            Self {
                taken: v6("Icmp6InRouterSolicits")?.saturating_sub(unread),
                dropped: unread,
            },
        ])
    }

    /// Since an earlier count.
    pub fn since(self, before: Self) -> Self {
        Self {
            taken: self.taken - before.taken,
            dropped: self.dropped - before.dropped,
        }
    }
}

//! The sockets on which the kernel tells of changes in this network namespace.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use tracing::{info, warn};

use super::watcher::tables_of;
use super::{Health, Rules};
use crate::net::plan::NetworkPlan;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR` (`linux/rtnetlink.h`), as bits.
const LINKS: u32 = 1 << 0 | 1 << 4 | 1 << 8;
/// `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`), as a bit.
const RULES: u32 = 1 << 6;
/// Changes that wait, in bytes of the kernel's accounting. When it is full more are dropped, which is told.
const BACKLOG: usize = 64 << 10;

/// Open sockets; what could not be had is missing.
#[derive(Debug, Default)]
pub struct Monitors {
    /// Links and addresses.
    pub links: Option<OwnedFd>,
    /// nf_tables.
    pub rules: Option<OwnedFd>,
}

impl Monitors {
    /// From now on nothing is missed. To be opened after our own changes, before links are read back; rules were confirmed
    /// as they were made. What cannot be watched is told, and costs no guest.
    pub fn open(plan: &NetworkPlan) -> Self {
        let links = open(SockProtocol::NetlinkRoute, LINKS).inspect_err(|error| {
            warn!(event = "network.unwatched", %error, "network: a change of links or addresses will not be noticed");
        });
        let rules = (!tables_of(plan).is_empty())
            .then(|| open(SockProtocol::NetlinkNetFilter, RULES).inspect_err(unverified));
        Self {
            links: links.ok(),
            rules: rules.and_then(Result::ok),
        }
    }

    /// What is known once everything was read back, until the kernel tells of a change.
    pub fn health(&self, plan: &NetworkPlan) -> Health {
        Health {
            links: Vec::new(),
            rules: (!tables_of(plan).is_empty()).then_some(match self.rules {
                Some(_) => Rules::Untouched,
                None => Rules::Unverified,
            }),
        }
    }
}

/// It takes CAP_NET_ADMIN, where links take nothing (`netlink_bind`, `NL_CFG_F_NONROOT_RECV`).
fn unverified(error: &io::Error) {
    if error.raw_os_error() == Some(libc::EPERM) {
        info!(
            event = "network.rules-unverified",
            "network: NAT rules are taken on trust: without CAP_NET_ADMIN nobody may look at them, nor learn of a change"
        );
    } else {
        warn!(event = "network.rules-unverified", %error, "network: a change of NAT rules will not be noticed");
    }
}

fn open(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    socket::setsockopt(&fd, sockopt::RcvBuf, &BACKLOG)?;
    let bound = socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups));
    bound.map_err(Errno::into).map(|()| fd)
}

//! What the guest is told by: DHCP, DHCPv6 and router advertisements.
//!
//! The sockets take privileges and are made before these fall; serving takes none. A server that ends never touches the
//! guest, which keeps what it was told.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::net::plan::{Ipv6Plan, NetworkPlan};
use crate::net::service::ServiceError;
use crate::net::{dhcp, dhcp6, ra};
use crate::supervise::kept;

/// Bound and not serving yet.
#[derive(Debug, Default)]
pub struct Servers {
    dhcp: Vec<dhcp::Server>,
    dhcp6: Vec<dhcp6::Server>,
    ra: Vec<ra::Server>,
}

impl Servers {
    /// One of each kind for every interface whose plan has it.
    ///
    /// # Errors
    ///
    /// The first socket that cannot be had; that advertisements are not allowed is a warning alone.
    pub fn bind(plan: &NetworkPlan) -> Result<Self, ServiceError> {
        let mut servers = Self::default();
        for nic in &plan.nics {
            if let Some(lease) = &nic.dhcp {
                servers.dhcp.push(dhcp::Server::bind(lease)?);
            }
            if let Some(ipv6) = &nic.ipv6 {
                servers.dhcp6.push(dhcp6::Server::bind(ipv6)?);
                servers.ra.extend(advertise(ipv6)?);
            }
        }
        Ok(servers)
    }

    /// The sockets that an earlier supervisor made, taken out of what was kept; none was where its start broke off before.
    pub fn resume(plan: &NetworkPlan, kept: &mut BTreeMap<String, OwnedFd>) -> Self {
        let mut servers = Self::default();
        let mut take = |name: String| kept.remove(&name);
        for nic in &plan.nics {
            if let Some(lease) = &nic.dhcp
                && let Some(socket) = take(kept::dhcp(&lease.link))
            {
                let server = dhcp::Server::from_fd(socket, lease.clone());
                servers.dhcp.extend(server.inspect_err(ended).ok());
            }
            let Some(ipv6) = &nic.ipv6 else { continue };
            if let Some(socket) = take(kept::dhcp6(&ipv6.link)) {
                let server = dhcp6::Server::from_fd(socket, ipv6.clone());
                servers.dhcp6.extend(server.inspect_err(ended).ok());
            }
            if let Some(socket) = take(kept::ra(&ipv6.link)) {
                let server = ra::Server::from_fd(socket, ipv6.clone());
                servers.ra.extend(server.inspect_err(ended).ok());
            }
        }
        servers
    }

    /// Each socket with the name to keep it by.
    pub fn sockets(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let dhcp = self.dhcp.iter();
        let dhcp = dhcp.map(|server| (kept::dhcp(server.link()), server.as_fd()));
        let dhcp6 = self.dhcp6.iter();
        let dhcp6 = dhcp6.map(|server| (kept::dhcp6(server.link()), server.as_fd()));
        let ra = self.ra.iter();
        let ra = ra.map(|server| (kept::ra(server.link()), server.as_fd()));
        dhcp.chain(dhcp6).chain(ra).collect()
    }

    /// Starts them, each as a task of its own.
    pub fn start(self) {
        for server in self.dhcp {
            tokio::spawn(async move { ended(&server.serve().await) });
        }
        for server in self.dhcp6 {
            tokio::spawn(async move { ended(&server.serve().await) });
        }
        for server in self.ra {
            tokio::spawn(async move { ended(&server.serve().await) });
        }
    }
}

/// The plan went by what its facts said of our capabilities; what counts is the kernel's word.
fn advertise(plan: &Ipv6Plan) -> Result<Option<ra::Server>, ServiceError> {
    if !plan.advertised {
        return Ok(None);
    }
    match ra::Server::bind(plan) {
        Err(error) if error.is_permission() => {
            tracing::warn!(
                event = "ra.not-permitted",
                link = plan.link,
                error = %crate::causes::chain(&error),
                "{}",
                plan.by_hand()
            );
            Ok(None)
        }
        result => result.map(Some),
    }
}

fn ended(error: &ServiceError) {
    tracing::error!(event = "server-ended", error = %crate::causes::chain(error), "the guest is not told any more what it was told so far");
}

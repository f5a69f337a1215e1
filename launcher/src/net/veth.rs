//! The NIC of a pod that a local run makes: a veth pair, one end on the machine, the other in the pod's namespace.

use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::LinkUnspec;
use serde::{Deserialize, Serialize};

use super::address::PodBlock;
use super::error::NetError;
use super::link::{Netlink, State};
use super::mac::MacAddr;
use super::undo::{self, Undo};

/// Both ends of a local pod's NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNic {
    /// The machine's end.
    pub host_link: String,
    /// The machine's address, the pod's gateway.
    pub host: Ipv4Net,
    /// The pod's end.
    pub pod_link: String,
    /// The pod's hardware address, which becomes the guest's.
    pub mac: MacAddr,
    /// The pod's address.
    pub pod: Ipv4Net,
    /// Machine and pod in IPv6; none on a machine without.
    pub ipv6: Option<(Ipv6Net, Ipv6Net)>,
    /// Of both ends.
    pub mtu: u32,
}

impl PodNic {
    /// `eth0` of a pod with the block's addresses, those of IPv6 where the machine has it.
    pub fn new(block: PodBlock, mtu: u32, ipv6: bool) -> Self {
        Self {
            host_link: block.link_name(),
            host: block.host(),
            pod_link: "eth0".to_owned(),
            mac: block.mac(),
            pod: block.pod(),
            ipv6: ipv6.then(|| (block.host6(), block.pod6())),
            mtu,
        }
    }

    fn host_addresses(&self) -> impl Iterator<Item = IpNet> {
        let host6 = self.ipv6.map(|(host, _)| IpNet::V6(host));
        [IpNet::V4(self.host)].into_iter().chain(host6)
    }

    fn pod_addresses(&self) -> impl Iterator<Item = IpNet> {
        let pod6 = self.ipv6.map(|(_, pod)| IpNet::V6(pod));
        [IpNet::V4(self.pod)].into_iter().chain(pod6)
    }
}

/// A network namespace.
#[derive(Debug, Clone, Copy)]
pub enum NetNs<'a> {
    /// That of a process.
    Pid(u32),
    /// An open `/proc/<pid>/ns/net`.
    Fd(BorrowedFd<'a>),
}

/// Makes the pair between this namespace and the pod's, and brings the machine's end up with its addresses.
///
/// # Errors
///
/// [`NetError::Undone`]: the pair is gone again. [`NetError::Link`] when it could not be made.
pub async fn pod_nic(nic: &PodNic, pod: NetNs<'_>) -> Result<(), NetError> {
    let netlink = Netlink::open()?;
    let peer = LinkUnspec::new_with_name(&nic.pod_link)
        .address(nic.mac.0.to_vec())
        .mtu(nic.mtu);
    let peer = match pod {
        NetNs::Pid(pid) => peer.setns_by_pid(pid),
        NetNs::Fd(fd) => peer.setns_by_fd(fd.as_raw_fd()),
    };
    netlink
        .add_veth(&nic.host_link, nic.mtu, peer.build())
        .await?;
    let mut done = vec![Undo::DeleteLink(nic.host_link.clone())];
    match configure_host(&netlink, nic, &mut done).await {
        Ok(()) => Ok(()),
        Err(cause) => Err(NetError::Undone {
            cause: Box::new(cause),
            undo: undo::all(&netlink, done).await,
        }),
    }
}

async fn configure_host(
    netlink: &Netlink,
    nic: &PodNic,
    done: &mut Vec<Undo>,
) -> Result<(), NetError> {
    let index = netlink.must_find(&nic.host_link).await?.index;
    for address in nic.host_addresses() {
        netlink
            .ensure_address(&nic.host_link, index, address, done)
            .await?;
    }
    Ok(())
}

/// Deletes the pair by the machine's end, in this namespace; that it is gone is no error.
///
/// # Errors
///
/// [`NetError::Link`].
pub async fn delete_pod_nic(host_link: &str) -> Result<(), NetError> {
    Netlink::open()?.delete(host_link).await
}

/// Within the pod's namespace: `lo` and the pod's end up, with its addresses and the default routes.
///
/// # Errors
///
/// [`NetError::Missing`], [`NetError::Link`]. What was done stays: the namespace goes with the pod.
pub async fn configure_inside(nic: &PodNic) -> Result<(), NetError> {
    let netlink = Netlink::open()?;
    let loopback = netlink.must_find("lo").await?;
    netlink.set("lo", loopback.index, State::up()).await?;
    let link = netlink.must_find(&nic.pod_link).await?;
    netlink.set(&nic.pod_link, link.index, State::up()).await?;
    for address in nic.pod_addresses() {
        netlink
            .ensure_address(&nic.pod_link, link.index, address, &mut Vec::new())
            .await?;
    }
    for gateway in nic.host_addresses() {
        netlink
            .set_default_route(&nic.pod_link, link.index, gateway.addr())
            .await?;
    }
    Ok(())
}

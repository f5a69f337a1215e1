//! What the guest's network will be: links, addresses, rules and leases as values.

mod decide;
mod ipv6;
mod lease;
mod names;
mod pod_nic;
#[cfg(test)]
mod tests;

pub use decide::plan;
pub use ipv6::Ipv6Plan;

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::net::mac::MacAddr;
use crate::spec::nic::{DhcpOptions, Port};

/// All of the VM's network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// One for each interface of the VMI, in its order.
    pub nics: Vec<NicPlan>,
}

/// One interface: the pod's NIC, the plumbing, the guest's NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicPlan {
    /// The VMI's interface name.
    pub name: String,
    /// The pod's link that carries it (`eth0`).
    pub pod_link: String,
    /// The guest's hardware address.
    pub guest_mac: MacAddr,
    /// MTU of pod link, bridge, tap and guest.
    pub mtu: u32,
    /// The tap QEMU is handed.
    pub tap: TapPlan,
    /// The bridge between them.
    pub bridge: BridgePlan,
    /// NAT.
    pub masquerade: Masquerade,
    /// What the guest is told by DHCP; none when the family is off.
    pub dhcp: Option<DhcpPlan>,
}

/// A tap device (facts 7.1, 7.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapPlan {
    /// `tap0` for the primary interface.
    pub name: String,
    /// One fd a queue.
    pub queues: u16,
    /// A `/dev/vhost-net` fd goes with each queue.
    pub vhost: bool,
}

/// The bridge that the tap hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// `k6t-eth0`.
    pub name: String,
    /// `02:00:00:00:00:00`.
    pub mac: MacAddr,
    /// The guest's gateway; none when the pod has no IPv4.
    pub address: Option<Ipv4Net>,
    /// The same for IPv6.
    pub address6: Option<Ipv6Net>,
}

/// NAT between the pod's address and the guest's (facts 7.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masquerade {
    /// The guest's IPv4 address with prefix: the second host of the network.
    pub guest: Option<Ipv4Net>,
    /// The guest's IPv6 address with prefix.
    pub guest6: Option<Ipv6Net>,
    /// Only these are forwarded; all when empty.
    pub ports: Vec<Port>,
}

/// The one lease that our DHCP server gives (facts 7.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpPlan {
    /// Link that it serves: the bridge.
    pub link: String,
    /// The only client that is answered.
    pub client: MacAddr,
    /// What it gets, with the mask.
    pub address: Ipv4Net,
    /// Router, and our server identifier.
    pub server: Ipv4Addr,
    /// Option 3; none when there is no way out.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub nameservers: Vec<Ipv4Addr>,
    /// Option 12.
    pub hostname: String,
    /// Options 15 (the longest) and 119.
    pub search: Vec<String>,
    /// Option 26.
    pub mtu: u16,
    /// Option 121, the default route last: destination and gateway (0.0.0.0 when on-link).
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// What the VMI adds.
    pub options: DhcpOptions,
}

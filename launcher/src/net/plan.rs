//! What the guest's network will be: links, addresses, rules and leases as values.

mod bridged;
mod decide;
mod ipv6;
mod lease;
mod masquerade;
mod names;
mod pod_nic;
#[cfg(test)]
mod tests;
mod vf;

pub use decide::plan;
pub use ipv6::Ipv6Plan;
pub use names::secondary as secondary_link;
pub use vf::BridgedVf;

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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
    /// Who makes what follows.
    #[serde(default)]
    pub setup: Setup,
    /// The guest's hardware address.
    pub guest_mac: MacAddr,
    /// MTU of pod link, bridge, tap and guest.
    pub mtu: u32,
    /// The tap QEMU is handed.
    pub tap: TapPlan,
    /// The bridge between them.
    pub bridge: BridgePlan,
    /// What joins bridge and pod NIC.
    #[serde(flatten)]
    pub wiring: Wiring,
    /// What the guest is told by DHCP; none when it has no IPv4 address of ours.
    pub dhcp: Option<DhcpPlan>,
    /// What it is told of IPv6; none when it has no IPv6 address of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Plan>,
}

impl NicPlan {
    /// NAT, where the guest is behind it.
    pub fn masquerade(&self) -> Option<&Masquerade> {
        match &self.wiring {
            Wiring::Masquerade(masquerade) => Some(masquerade),
            Wiring::Bridged(_) => None,
        }
    }

    /// Whether links, addresses and rules are ours to make.
    pub fn is_ours(&self) -> bool {
        self.setup == Setup::Made
    }
}

/// Who makes an interface's links, addresses and rules (facts 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setup {
    /// We do, which takes CAP_NET_ADMIN.
    #[default]
    Made,
    /// virt-handler has: they are used as they are.
    Found,
}

/// What joins the tap's bridge and the pod's NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wiring {
    /// Addresses are translated between the two.
    Masquerade(Masquerade),
    /// The NIC is a port of the bridge.
    Bridged(Bridged),
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
    /// `02:00:00:00:00:00` of a masquerade; else one that stays the same for the VM.
    pub mac: MacAddr,
    /// Where the guest finds us: its gateway, or the DHCP server alone; none when the pod has no IPv4.
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
    /// Istio's proxy is in the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub istio: Option<Istio>,
}

/// A proxy that gets the guest's connections first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Istio {
    /// The pod's own address, by which the proxy hands connections on.
    pub pod: Option<Ipv4Addr>,
}

/// The pod's NIC as a port of the bridge, and what stands in for it (facts 7.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridged {
    /// The NIC's new name (`eth0-nic`).
    pub nic: String,
    /// The hardware address that the NIC had; its stand-in gets it.
    pub pod_mac: MacAddr,
    /// The addresses that the NIC had; the stand-in keeps them for whoever looks the pod's up.
    pub addresses: Vec<IpNet>,
    /// The NIC is a virtual function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vf: Option<BridgedVf>,
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
    /// Our server identifier.
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

//! Interfaces and the networks behind them.

use ipnet::{Ipv4Net, Ipv6Net};

use crate::net::mac::MacAddr;

/// One `devices.interfaces[]` entry joined with its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Interface and network name.
    pub name: String,
    /// JSON path of the interface.
    pub path: String,
    /// Which of the pod's networks it is on.
    pub network: Network,
    /// How the pod's NIC reaches the guest.
    pub binding: Binding,
    /// `model`.
    pub model: NicModel,
    /// `macAddress`, else the status's, so that it stays over a migration; else the pod NIC's is used.
    pub mac: Option<MacAddr>,
    /// `networkInterfaceMultiqueue`: queues = min(vCPUs, 256), else 1.
    pub queues: u16,
    /// `bootOrder`, from 1.
    pub boot_order: Option<u32>,
    /// `pciAddress`.
    pub pci_address: Option<crate::machine::pci::PciAddress>,
    /// `acpiIndex`.
    pub acpi_index: Option<u32>,
    /// `state: down`: the link starts down.
    pub link_down: bool,
    /// `dhcpOptions`.
    pub dhcp_options: DhcpOptions,
}

/// Which of the pod's networks an interface is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// The pod's first: `pod`, or the one of `multus` that is its default.
    Primary {
        /// `status.interfaces[].podInterfaceName`, where it is not `eth0`.
        pod_link: Option<String>,
    },
    /// Another one of `multus`.
    Secondary {
        /// `networkName`, a NetworkAttachmentDefinition.
        definition: String,
        /// Its place among these, from 1: KubeVirt once named the pod's links by it.
        ordinal: usize,
    },
}

/// How the pod's NIC reaches the guest; the bindings that are not built are refused by `spec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// NAT behind the pod's address.
    Masquerade {
        /// `networks[].pod.vmNetworkCIDR`, 10.0.2.0/24 by default.
        cidr: Ipv4Net,
        /// `networks[].pod.vmIPv6NetworkCIDR`, fd10:0:2::/120 by default.
        cidr6: Ipv6Net,
        /// `ports` and `portRanges`; empty: all are forwarded.
        ports: Vec<Port>,
        /// Istio's proxy is in the pod and gets the connections first.
        istio: bool,
    },
    /// The guest is on the pod NIC's wire, under the pod's own address.
    Bridge,
}

/// One forwarded port, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Port {
    /// `port` or `start`, never 0.
    pub port: u16,
    /// `end` of a range; of a single port the port itself.
    pub last: u16,
    /// `protocol`, TCP by default.
    pub protocol: Protocol,
    /// `name`.
    pub name: Option<String>,
}

/// `ports[].protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the protocols' own names")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    /// As nft and people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "QEMU's own names")]
pub enum NicModel {
    #[default]
    Virtio,
    E1000,
    E1000e,
    Igb,
    Rtl8139,
    #[serde(rename = "ne2k_pci")]
    Ne2kPci,
    Pcnet,
}

/// `dhcpOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct DhcpOptions {
    /// Option 67.
    pub boot_file_name: Option<String>,
    /// Option 66.
    pub tftp_server_name: Option<String>,
    /// Option 42.
    pub ntp_servers: Vec<std::net::Ipv4Addr>,
    /// Options 224 to 254.
    pub private_options: Vec<(u8, String)>,
}

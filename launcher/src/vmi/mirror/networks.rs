use super::{Marker, mirror};

mirror! {
    pub struct Interface {
        pub name: Option<String>,
        pub model: Option<String>,
        pub masquerade: Option<Marker>,
        pub bridge: Option<Marker>,
        pub sriov: Option<Marker>,
        pub ports: Vec<Port>,
        pub port_ranges: Vec<PortRange>,
        pub mac_address: Option<String>,
        pub boot_order: Option<i64>,
        pub pci_address: Option<String>,
        pub acpi_index: Option<i64>,
        pub state: Option<String>,
        pub dhcp_options: DhcpOptions,
        pub tag: Option<String>,
    }

    pub struct Port {
        pub name: Option<String>,
        pub protocol: Option<String>,
        pub port: Option<i64>,
    }

    pub struct PortRange {
        pub protocol: Option<String>,
        pub start: Option<i64>,
        pub end: Option<i64>,
    }

    pub struct DhcpOptions {
        pub boot_file_name: Option<String>,
        #[serde(rename = "tftpServerName")]
        pub tftp_server_name: Option<String>,
        pub ntp_servers: Vec<String>,
        pub private_options: Vec<PrivateOption>,
    }

    pub struct PrivateOption {
        pub option: Option<i64>,
        pub value: Option<String>,
    }

    pub struct Network {
        pub name: Option<String>,
        pub pod: Option<PodNetwork>,
        pub multus: Option<MultusNetwork>,
    }

    pub struct MultusNetwork {
        pub network_name: Option<String>,
        pub default: bool,
    }

    pub struct PodNetwork {
        #[serde(rename = "vmNetworkCIDR")]
        pub vm_network_cidr: Option<String>,
        #[serde(rename = "vmIPv6NetworkCIDR")]
        pub vm_ipv6_network_cidr: Option<String>,
    }
}

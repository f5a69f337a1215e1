//! What this machine and pod have: [`HostFacts`], read once through [`numa::HostRoot`].

mod cpuinfo;
mod environment;
mod links;
pub mod mdev;
mod memlock;
pub mod netdev;
pub mod network_info;
pub mod pci;
pub mod podinfo;
mod read;
mod resolver;
mod rights;
mod text;
mod vif_cache;

pub use links::links_from;
pub use read::FactsError;
pub use text::text;
pub use vif_cache::VifCache;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use camino::Utf8PathBuf;
use hugepages::{Bytes, Limit, Pool};
use ipnet::{Ipv4Net, Ipv6Net};
use numa::{CpuSet, Disagreement, Topology};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::machine::pci::PciAddress;
use crate::net::mac::MacAddr;
use mdev::MdevFacts;
use netdev::LinkVf;
use network_info::NetworkDevice;
use pci::PciFacts;

/// Everything a plan depends on that is not in the VMI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// CPUs this pod may use: its cgroup's cpuset and the scheduler's list, intersected.
    pub cpus: CpuSet,
    /// NUMA nodes this pod may allocate from, in the same way.
    pub mems: CpuSet,
    /// Where the cgroup and the scheduler say different things of the two above.
    #[serde(default)]
    pub disagreements: Vec<Disagreement>,
    /// All of the host's CPUs, cores, caches and nodes, with the distances between these.
    #[serde(default)]
    pub topology: Topology,
    /// The host's pools of huge pages, by node, then size.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Limits that the pod's cgroups set on huge pages, by size, the nearest group's first.
    #[serde(default)]
    pub hugetlb: Vec<Limit>,
    /// `mbind(2)` is allowed: the default seccomp profile of containers allows it only with CAP_SYS_NICE.
    #[serde(default = "allowed")]
    pub mbind: bool,
    /// `SCHED_FIFO` is allowed, by CAP_SYS_NICE or a limit on real-time priority.
    #[serde(default = "allowed")]
    pub realtime: bool,
    /// `vendor_id` and flags of the first CPU.
    pub cpu: CpuIdentity,
    /// The cgroup's `memory.max`, where there is a limit.
    pub memory_limit: Option<Bytes>,
    /// `/dev/kvm` exists. Whether it is fit for a guest is told by running something on it, which no plan does.
    pub kvm: bool,
    /// `/dev/vhost-net` exists.
    pub vhost_net: bool,
    /// `/dev/net/tun` exists.
    pub tun: bool,
    /// `/dev/iommu` exists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub iommufd: bool,
    /// This process may open raw sockets. A tree that does not tell stands for one that may.
    pub net_raw: bool,
    /// The pod's host name.
    pub hostname: String,
    /// `/etc/resolv.conf`.
    pub resolver: Resolver,
    /// Links of the pod's network namespace, by index.
    pub links: Vec<Link>,
    /// What virt-handler knew of a link before it took its addresses away, by the link's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vif_caches: BTreeMap<String, VifCache>,
    /// Links that are VFs with their driver on the host, by the link's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub link_vfs: BTreeMap<String, LinkVf>,
    /// The pod's environment, as the device plugins and the kubelet set it.
    pub environment: BTreeMap<String, String>,
    /// `/etc/podinfo/network-info`: what Multus gave each network; none while it says nothing.
    pub network_info: Option<Vec<NetworkDevice>>,
    /// PCI functions that the environment, network-info or the VMI name and that are there.
    pub pci: BTreeMap<PciAddress, PciFacts>,
    /// Mediated devices that the environment names and that are there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mdevs: BTreeMap<Uuid, MdevFacts>,
    /// How much memory may be locked.
    pub memlock: MemlockFacts,
}

/// `RLIMIT_MEMLOCK`, and whether it can be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemlockFacts {
    /// The limit now; none: unlimited.
    pub soft: Option<Bytes>,
    /// How far any process may raise it; none: unlimited.
    pub hard: Option<Bytes>,
    /// CAP_SYS_RESOURCE: beyond the hard limit too.
    pub may_raise: bool,
}

/// What older facts do not tell is taken to be allowed.
fn allowed() -> bool {
    true
}

/// Who made the CPU and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuIdentity {
    /// `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// `model name`.
    pub model_name: String,
    /// As `/proc/cpuinfo` spells them.
    pub flags: Vec<String>,
    /// Bits of a physical address, where it is told.
    pub address_bits: Option<u32>,
}

/// `/etc/resolv.conf`, as far as DHCP hands it on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resolver {
    /// `nameserver`, IPv4.
    pub nameservers: Vec<Ipv4Addr>,
    /// `nameserver`, IPv6.
    pub nameservers6: Vec<Ipv6Addr>,
    /// `search` (or `domain`).
    pub search: Vec<String>,
}

/// One network link with its addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Hardware address, where it has one of six bytes.
    pub mac: Option<MacAddr>,
    /// Bytes a frame's payload may have.
    pub mtu: u32,
    /// `IFF_UP`.
    pub up: bool,
    /// Index of the bridge it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<u32>,
    /// IPv4 addresses with prefix.
    pub addresses: Vec<Ipv4Net>,
    /// IPv6 addresses with prefix, link-local ones included.
    pub addresses6: Vec<Ipv6Net>,
    /// IPv4 routes out of this link.
    pub routes: Vec<Route>,
}

/// One IPv4 route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads; 0.0.0.0/0 for the default route.
    pub destination: Ipv4Net,
    /// Next hop; none when on-link.
    pub gateway: Option<Ipv4Addr>,
}

/// What is known of one image file before QEMU opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// The path that was looked at, in the pod.
    pub path: Utf8PathBuf,
    /// A block device, not a file.
    pub block: bool,
    /// Format by its first bytes.
    pub format: ImageFormat,
    /// A qcow2 whose header names another file (backing or external data file), which QEMU would open.
    #[serde(default)]
    pub has_backing: bool,
    /// Why its first bytes are not known, where they decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// Length of the file or device (not the guest's view of a qcow2).
    pub size: Bytes,
    /// `O_DIRECT` opens it, and what a start makes over it.
    pub direct_io: bool,
    /// Every block of the file is allocated.
    pub preallocated: bool,
}

/// How an image is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "QEMU's own names")]
pub enum ImageFormat {
    Raw,
    Qcow2,
}

//! What can go wrong when the guest's network is made, read back or undone.

use std::fmt;
use std::io;

use camino::Utf8PathBuf;

/// One failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// No rtnetlink socket.
    #[error("a netlink socket cannot be opened")]
    Socket(#[source] io::Error),
    /// The kernel did not tell what there is.
    #[error("{what} of this network namespace cannot be read")]
    Read {
        /// `links`, `addresses`, `routes`.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change.
    #[error("cannot {action} `{link}`{}", hint(source))]
    Link {
        /// What was tried.
        action: Action,
        /// The link's name.
        link: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A link that must be there is not.
    #[error("there is no link `{link}` in this network namespace")]
    Missing {
        /// Its name.
        link: String,
    },
    /// Something else than a bridge was named.
    #[error("`{link}` is no bridge of this machine; make one with `ip link add NAME type bridge`")]
    NotABridge {
        /// What was named.
        link: String,
    },
    /// A bridge takes no notice of VLANs unless told to.
    #[error(
        "bridge `{bridge}` does not keep VLANs apart; `ip link set {bridge} type bridge vlan_filtering 1` makes it (with a kernel that has CONFIG_BRIDGE_VLAN_FILTERING)"
    )]
    NoVlans {
        /// Which.
        bridge: String,
    },
    /// No CNI plugin has made the link of an interface's network.
    #[error(
        "the network of interface `{interface}` has no link in this pod: `{link}` is not there; Multus makes it, so look at the pod's `k8s.v1.cni.cncf.io/networks` annotation and its events"
    )]
    NoPodNic {
        /// The VMI's name of it.
        interface: String,
        /// What it must be called.
        link: String,
    },
    /// A VF on a bridge needs an address beside the one that its physical function gave it.
    #[error(
        "`{link}` is {vf}, which does not let it have another hardware address, as a bridge's port needs; {command}, or give it to the guest whole by `sriov: {{}}`"
    )]
    UntrustedVf {
        /// The VF's link in the pod.
        link: String,
        /// Which VF it is.
        vf: String,
        /// What allows it.
        command: String,
    },
    /// The name is taken by something else.
    #[error(
        "link `{link}` is there already, but {property} is `{found}` and not `{wanted}`; delete it, or run in another network namespace"
    )]
    Taken {
        /// Its name.
        link: String,
        /// Which property differs.
        property: &'static str,
        /// As it is.
        found: String,
        /// As it was planned.
        wanted: String,
    },
    /// `/dev/net/tun` or `/dev/vhost-net` does not open.
    #[error("`{path}` cannot be opened{}", device_hint(source))]
    Device {
        /// The device.
        path: Utf8PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A queue could not be attached to a tap.
    #[error("queue {queue} of tap `{tap}` cannot be opened{}", tap_hint(source))]
    Tap {
        /// The tap's name.
        tap: String,
        /// From 0.
        queue: u16,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A link's name that the kernel cannot have.
    #[error("`{name}` is no name for a link: the kernel takes 1 to 15 bytes")]
    LinkName {
        /// As planned.
        name: String,
    },
    /// A kernel setting could not be read or written.
    #[error("`{path}` cannot be set to `{value}`{}", sysctl_hint(source))]
    Sysctl {
        /// Below `/proc/sys`.
        path: Utf8PathBuf,
        /// What was wanted.
        value: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// `nft` did not start, or did not end in time.
    #[error("`nft` cannot be run{}", nft_hint(.0))]
    NftSpawn(#[source] io::Error),
    /// `nft` refused the rules.
    #[error("`nft` failed ({status}): {message}")]
    Nft {
        /// Its exit status.
        status: String,
        /// The first line that it printed.
        message: String,
    },
    /// `nft` printed something that is not what its manual describes.
    #[error("`nft` printed something unexpected")]
    NftOutput(#[source] serde_json::Error),
    /// No privilege, and nobody prepared the network.
    #[error(
        "the network needs CAP_NET_ADMIN, and nobody has prepared it; grant the capability, or let virt-handler set up the pod"
    )]
    Unprepared {
        /// What is not there.
        #[source]
        missing: Box<NetError>,
    },
    /// The kernel has something else than what was planned.
    #[error("{what} is `{found}`, planned was `{wanted}`")]
    NotAsPlanned {
        /// Which property of what.
        what: String,
        /// As it is.
        found: String,
        /// As it was planned.
        wanted: String,
    },
    /// Every block of the local pods' address range is in use.
    #[error(
        "no free block of four addresses in {range}; a route or address of this machine covers it"
    )]
    NoFreeBlock {
        /// The range.
        range: ipnet::Ipv4Net,
    },
    /// A change failed; what had been done before was taken back.
    #[error("the network cannot be set up{}", undo_failures(undo))]
    Undone {
        /// What failed.
        #[source]
        cause: Box<NetError>,
        /// What could not be taken back.
        undo: Vec<NetError>,
    },
}

/// What was tried on a link, as the middle of "cannot ... `k6t-eth0`".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its own sentence, below")]
pub enum Action {
    CreateBridge,
    CreateVeth,
    CreateStandIn,
    Configure,
    Rename,
    JoinVlan,
    AddAddress,
    RemoveAddress,
    AddRoute,
    Enslave,
    Release,
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateBridge => "create bridge",
            Self::CreateVeth => "create veth pair",
            Self::CreateStandIn => "create the stand-in",
            Self::Configure => "configure link",
            Self::JoinVlan => "change the VLANs of bridge port",
            Self::Rename => "make a bridge's port of link",
            Self::AddAddress => "add an address to link",
            Self::RemoveAddress => "remove an address from link",
            Self::AddRoute => "add a route through link",
            Self::Enslave => "put on its bridge link",
            Self::Release => "take off its bridge link",
            Self::Delete => "delete link",
        })
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => "; it needs CAP_NET_ADMIN in this network namespace",
        Some(libc::EOPNOTSUPP) => {
            "; the kernel lacks this kind of link (modules bridge, tun, veth)"
        }
        _ => "",
    }
}

fn device_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "; load the kernel's module, and in a pod ask for the device plugin's resource"
        }
        Some(libc::EACCES | libc::EPERM) => "; its mode or the pod's device cgroup forbids it",
        _ => "",
    }
}

fn tap_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => {
            "; making it needs CAP_NET_ADMIN, and a prepared one must belong to our uid"
        }
        Some(libc::EBUSY) => "; another process has it open",
        Some(libc::EINVAL) => "; a link of this name is no tap, or has other queues",
        _ => "",
    }
}

fn sysctl_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => {
            "; `/proc/sys` is read-only here: set it in the pod's securityContext or run privileged"
        }
        _ => "",
    }
}

fn nft_hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound {
        "; install nftables"
    } else {
        ""
    }
}

fn undo_failures(undo: &[NetError]) -> String {
    undo.iter()
        .map(|failure| format!("; and it could not be taken back: {}", chain(failure)))
        .collect()
}

/// An error with its sources, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

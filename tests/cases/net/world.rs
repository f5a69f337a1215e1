//! A pod with its NIC, the outside behind it, and a stand-in guest on the pod's bridge.

use std::os::fd::AsFd;

use launcher::net::address::{self, PodBlock};
use launcher::net::plan::{BridgePlan, Masquerade, NetworkPlan, NicPlan, Setup, TapPlan, Wiring};
use launcher::net::setup::{NetworkUp, Taps, open_taps, set_up};
use launcher::net::veth::{NetNs, PodNic, configure_inside, pod_nic};
use launcher::spec::nic::Port;

use crate::namespace::Namespace;

pub(crate) const MTU: u32 = 1400;

/// `outside` holds the other end of the pod's NIC.
pub(crate) struct World {
    pub(crate) outside: Namespace,
    pub(crate) pod: Namespace,
    pub(crate) block: PodBlock,
}

impl World {
    /// A pod as a local run makes it, with an IPv6 address besides.
    pub(crate) fn new() -> Self {
        let world = Self {
            outside: Namespace::new(),
            pod: Namespace::new(),
            block: address::choose(&[], &[]).unwrap(),
        };
        let nic = PodNic::new(world.block, MTU, false);
        let target = NetNs::Fd(world.pod.file.as_fd());
        world
            .outside
            .block_on(async || pod_nic(&nic, target).await.unwrap());
        world
            .pod
            .block_on(async || configure_inside(&nic).await.unwrap());
        let outer = world.block.link_name();
        world
            .outside
            .sh(&format!("ip addr add fd00:64::1/64 dev {outer} nodad"));
        world.pod.sh("ip addr add fd00:64::2/64 dev eth0 nodad");
        world
    }

    /// Masquerade in both families, as the plan has it.
    pub(crate) fn plan(&self, ports: Vec<Port>) -> NetworkPlan {
        NetworkPlan {
            nics: vec![NicPlan {
                name: "default".into(),
                pod_link: "eth0".into(),
                setup: Setup::Made,
                guest_mac: self.block.mac(),
                mtu: MTU,
                tap: TapPlan {
                    name: "tap0".into(),
                    queues: 1,
                    vhost: false,
                },
                bridge: BridgePlan {
                    name: "k6t-eth0".into(),
                    mac: "02:00:00:00:00:00".parse().unwrap(),
                    address: Some("10.0.2.1/24".parse().unwrap()),
                    address6: Some("fd10:0:2::1/120".parse().unwrap()),
                },
                wiring: Wiring::Masquerade(Masquerade {
                    guest: Some("10.0.2.2/24".parse().unwrap()),
                    guest6: Some("fd10:0:2::2/120".parse().unwrap()),
                    ports,
                    istio: None,
                }),
                dhcp: None,
                ipv6: None,
            }],
        }
    }

    /// Taps open, everything set up.
    pub(crate) fn up(&self, plan: &NetworkPlan) -> (Taps, NetworkUp) {
        let taps = self.pod.run(|| open_taps(plan).unwrap());
        let up = self.pod.block_on(async || set_up(plan).await.unwrap());
        (taps, up)
    }

    /// A namespace on the bridge with the guest's addresses.
    pub(crate) fn guest(&self) -> Namespace {
        let guest = Namespace::new();
        let mac = self.block.mac();
        self.pod.sh(&format!(
            "ip link add guest mtu {MTU} type veth peer name eth0 address {mac} mtu {MTU} netns /proc/{}/fd/{}; \
             ip link set guest master k6t-eth0 up",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&guest.file)
        ));
        guest.sh(
            "ip link set eth0 up; ip addr add 10.0.2.2/24 dev eth0; ip route add default via 10.0.2.1; \
             ip addr add fd10:0:2::2/120 dev eth0 nodad; ip -6 route add default via fd10:0:2::1",
        );
        guest
    }
}

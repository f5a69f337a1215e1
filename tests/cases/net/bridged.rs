//! The guest on the pod NIC's wire: the NIC moves, its stand-in stays, and everything comes back.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use launcher::host::HostFacts;
use launcher::net::error::NetError;
use launcher::net::link::read_links;
use launcher::net::plan::{self, NetworkPlan, Wiring};
use launcher::net::setup::{NetworkUp, open_taps, set_up, verify};
use launcher::spec::Spec;
use numa::HostRoot;

use crate::namespace::{Namespace, veth};
use crate::world::{MTU, World};

const PATIENCE: Duration = Duration::from_secs(5);

/// What the VMI's interfaces and networks become in this pod, with nothing assumed.
pub(crate) fn planned(pod: &Namespace, interfaces: &str, networks: &str) -> NetworkPlan {
    let text = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: vm}}\n\
         spec: {{domain: {{memory: {{guest: 1Gi}}, devices: {{interfaces: {interfaces}}}}}, networks: {networks}}}\n"
    );
    let (spec, _) = Spec::from_vmi(&launcher::vmi::read(&text).unwrap()).unwrap();
    let links = pod.block_on(async || read_links().await.unwrap());
    let mut facts = HostFacts::read(&HostRoot::default(), links).unwrap();
    // Nobody runs QEMU here.
    facts.vhost_net = false;
    let (plan, notices) = plan::plan(&spec, &facts).unwrap();
    let assumed: Vec<_> = notices
        .iter()
        .filter(|notice| notice.message.contains("planned for"))
        .collect();
    assert!(assumed.is_empty(), "{assumed:?}");
    plan
}

fn on_pod_network(world: &World) -> NetworkPlan {
    planned(
        &world.pod,
        "[{name: default, bridge: {}}]",
        "[{name: default, pod: {}}]",
    )
}

/// A namespace on the bridge in the guest's place, as the lease would have it.
fn guest(world: &World, plan: &NetworkPlan) -> Namespace {
    let nic = &plan.nics[0];
    let lease = nic.dhcp.as_ref().unwrap();
    let guest = Namespace::new();
    veth(&world.pod, "guest", &guest, "eth0");
    world.pod.sh(&format!(
        "ip link set guest mtu {MTU} master {} up",
        nic.bridge.name
    ));
    guest.sh(&format!(
        "ip link set eth0 address {} mtu {MTU} up; ip addr add {} dev eth0; ip route add default via {}",
        nic.guest_mac,
        lease.address,
        lease.router.unwrap()
    ));
    guest
}

#[test]
fn the_guest_takes_the_pods_place() {
    let world = World::new();
    let plan = on_pod_network(&world);
    let (_taps, up) = world.up(&plan);
    assert!(!up.found_ready());
    world
        .pod
        .block_on(async || verify(&plan).await)
        .unwrap_or_else(|failures| panic!("{failures:?}"));

    let port = &world.pod.json("ip -j -d addr show eth0-nic")[0];
    assert_eq!(port["master"], "k6t-eth0");
    assert_eq!(port["operstate"], "UP");
    assert_eq!(port["address"], plan.nics[0].bridge.mac.to_string());
    assert_eq!(port["linkinfo"]["info_slave_data"]["learning"], false);
    assert_eq!(port["addr_info"].as_array().unwrap().len(), 0, "{port}");
    let stand_in = &world.pod.json("ip -j -d addr show eth0")[0];
    // A bridge without ports where the kernel has no dummy.
    let kind = &stand_in["linkinfo"]["info_kind"];
    assert!(kind == "dummy" || kind == "bridge", "{stand_in}");
    assert_eq!(stand_in["operstate"], "DOWN");
    assert_eq!(stand_in["address"], world.block.mac().to_string());
    assert_eq!(stand_in["mtu"], MTU);
    let addresses = stand_in["addr_info"].to_string();
    assert!(
        addresses.contains("\"100.64.0.2\"") && addresses.contains("\"fd00:64::2\""),
        "{addresses}"
    );
    let bridge = &world.pod.json("ip -j -d addr show k6t-eth0")[0];
    assert!(bridge.to_string().contains("169.254.75.10"), "{bridge}");
    assert_eq!(bridge["mtu"], MTU);
    let settings =
        "cat /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv6/conf/k6t-eth0/disable_ipv6";
    assert_eq!(world.pod.sh(settings), "1\n1\n");

    let guest = guest(&world, &plan);
    let server = world.outside.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let client = guest.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = SocketAddr::new(
        "100.64.0.1".parse().unwrap(),
        server.local_addr().unwrap().port(),
    );
    client.send_to(b"ask", to).unwrap();
    let mut buffer = [0; 8];
    let (_, peer) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(peer.ip().to_string(), "100.64.0.2", "nothing is translated");
    server.send_to(b"answer", peer).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    // By the guest's own hardware address: nobody stands between.
    let neighbour = world.outside.sh("ip neigh show 100.64.0.2");
    assert!(
        neighbour.contains(&plan.nics[0].guest_mac.to_string()),
        "{neighbour}"
    );
}

#[test]
fn twice_is_once_and_undone_is_never() {
    let world = World::new();
    world.pod.sh(
        "ip addr add 192.0.2.9/24 dev eth0 label eth0:1; ip route add 198.51.100.0/24 via 192.0.2.1 metric 7; \
         ip route add 203.0.113.0/24 via 100.64.0.1 table 100; ip -6 route add 2001:db8::/32 via fd00:64::1",
    );
    let more = "; ip route show table 100; ip -d link show eth0";
    let plan = on_pod_network(&world);
    let taps = world.pod.run(|| open_taps(&plan).unwrap());
    let state = || (world.pod.state(), world.pod.sh(&format!("true{more}")));
    let before = state();
    let up = || -> NetworkUp { world.pod.block_on(async || set_up(&plan).await.unwrap()) };
    let first = up();
    let once = state();
    assert_ne!(once, before);
    let second = up();
    assert!(second.found_ready());
    assert_eq!(state(), once);
    let undo = |up: NetworkUp| world.pod.block_on(async || up.undo().await.unwrap());
    undo(second);
    assert_eq!(state(), once);
    undo(first);
    assert_eq!(state(), before);
    drop(taps);
    // The pod is as usable as it was.
    world
        .pod
        .sh("ping -c 1 -W 5 100.64.0.1 || busybox ping -c 1 -W 5 100.64.0.1");
}

#[test]
fn a_failure_half_way_gives_the_nic_back() {
    let world = World::new();
    let plan = on_pod_network(&world);
    let fails = || match world
        .pod
        .block_on(async || set_up(&plan).await.map(|_| ()))
        .unwrap_err()
    {
        NetError::Undone { cause, undo } => {
            assert!(undo.is_empty(), "{undo:?}");
            *cause
        }
        other => panic!("{other:?}"),
    };
    // The last step: there is no tap.
    let before = world.pod.state();
    let error = fails();
    assert!(
        matches!(&error, NetError::Missing { link } if link == "tap0"),
        "{error:?}"
    );
    assert_eq!(world.pod.state(), before);
    // The NIC's new name is taken.
    world.pod.sh("ip link add eth0-nic type bridge");
    let _taps = world.pod.run(|| open_taps(&plan).unwrap());
    let before = world.pod.state();
    let error = fails();
    assert!(
        matches!(&error, NetError::Taken { link, .. } if link == "eth0-nic"),
        "{error:?}"
    );
    assert_eq!(world.pod.state(), before);
}

#[test]
fn a_network_that_multus_has_not_made_is_named() {
    let world = World::new();
    let mut plan = on_pod_network(&world);
    plan.nics[0].pod_link = "pod16477688c0e".into();
    let _taps = world.pod.run(|| open_taps(&plan).unwrap());
    let error = world
        .pod
        .block_on(async || set_up(&plan).await.map(|_| ()))
        .unwrap_err();
    let NetError::Undone { cause, .. } = error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(&*cause, NetError::NoPodNic { interface, .. } if interface == "default"),
        "{cause:?}"
    );
}

#[test]
fn ten_networks_stand_side_by_side() {
    let world = World::new();
    let mut interfaces = "[{name: default, masquerade: {}}".to_owned();
    let mut networks = "[{name: default, pod: {}}".to_owned();
    for number in 1..10 {
        let name = format!("net-{number}");
        let link = plan::secondary_link(&name);
        veth(&world.outside, &format!("out{number}"), &world.pod, &link);
        world.pod.sh(&format!(
            "ip link set {link} up; ip addr add 10.{number}.0.5/24 dev {link}"
        ));
        interfaces.push_str(&format!(", {{name: {name}, bridge: {{}}}}"));
        networks.push_str(&format!(
            ", {{name: {name}, multus: {{networkName: {name}}}}}"
        ));
    }
    let plan = planned(
        &world.pod,
        &format!("{interfaces}]"),
        &format!("{networks}]"),
    );
    let taps = world.pod.run(|| open_taps(&plan).unwrap());
    let before = world.pod.state();
    let up = world.pod.block_on(async || set_up(&plan).await.unwrap());
    world
        .pod
        .block_on(async || verify(&plan).await)
        .unwrap_or_else(|failures| panic!("{failures:?}"));
    let bridged = plan
        .nics
        .iter()
        .filter(|nic| matches!(nic.wiring, Wiring::Bridged(_)));
    let servers: Vec<_> = bridged
        .map(|nic| nic.dhcp.as_ref().unwrap().server.to_string())
        .collect();
    assert_eq!(servers[0], "169.254.75.11");
    assert_eq!(servers.len(), 9);
    // Each on its own link, all on one port.
    world.pod.block_on(async || {
        let leases = plan.nics.iter().filter_map(|nic| nic.dhcp.as_ref());
        let bound: Vec<_> = leases
            .map(|lease| launcher::net::dhcp::Server::bind(lease).unwrap())
            .collect();
        assert_eq!(bound.len(), 10);
    });
    world.pod.block_on(async || up.undo().await.unwrap());
    assert_eq!(world.pod.state(), before);
    drop(taps);
}

//! What is particular to IPv6 in the pod.

use std::net::SocketAddr;

use launcher::spec::nic::{Port, Protocol};

use crate::traffic::{at, ip, listen, refused, seen};
use crate::world::World;

#[test]
fn the_guest_reaches_itself_at_its_pods_address() {
    let world = World::new();
    let (_taps, _up) = world.up(&world.plan(Vec::new()));
    let guest = world.guest();
    let server = listen(&guest, "[::]:0");
    assert_eq!(
        seen(&guest, at("fd00:64::2", &server), &server),
        ip("fd10:0:2::1")
    );
}

#[test]
fn with_a_ports_list_only_those_are_forwarded() {
    let world = World::new();
    let ports = vec![Port {
        port: 8080,
        last: 8081,
        protocol: Protocol::Tcp,
        name: None,
    }];
    let (_taps, _up) = world.up(&world.plan(ports));
    let guest = world.guest();
    for number in [8080, 8081] {
        let server = listen(&guest, &format!("[::]:{number}"));
        assert_eq!(
            seen(&world.outside, at("fd00:64::2", &server), &server),
            ip("fd00:64::1")
        );
    }
    let _unlisted = listen(&guest, "[::]:8082");
    refused(&world.outside, "[fd00:64::2]:8082");
}

#[test]
fn link_local_addresses_are_the_pods_own_from_the_start() {
    let world = World::new();
    let (_taps, _up) = world.up(&world.plan(Vec::new()));
    // The router that is advertised: usable before anybody else could have claimed it.
    let bridge = world.pod.sh("ip -6 addr show dev k6t-eth0 scope link");
    assert!(
        bridge.contains("fe80::ff:fe00:0/64") && !bridge.contains("tentative"),
        "{bridge}"
    );
    // What is said to it stays with the pod, though every port is forwarded.
    let guest = world.guest();
    let server = listen(&world.pod, "[::]:0");
    let port = server.local_addr().unwrap().port();
    let index: u32 = guest
        .sh("ip -o link show eth0 | cut -d: -f1")
        .trim()
        .parse()
        .unwrap();
    let router = std::net::SocketAddrV6::new("fe80::ff:fe00:0".parse().unwrap(), port, 0, index);
    // It has to be past its own duplicate address detection.
    guest.sh("ip addr add fe80::9/64 dev eth0 nodad");
    let from = seen(&guest, SocketAddr::V6(router), &server);
    assert!(from.to_string().starts_with("fe80::"), "{from}");
}

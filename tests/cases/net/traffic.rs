//! Packets between outside, pod and guest.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use launcher::spec::nic::{Port, Protocol};

use crate::namespace::Namespace;
use crate::world::World;

/// Far more than a handshake within one machine takes: it bounds a broken test.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects, has the server accept, and tells whom the server saw.
pub(crate) fn seen(client: &Namespace, to: SocketAddr, server: &TcpListener) -> IpAddr {
    let stream = client.run(|| {
        TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|error| panic!("{to}: {error}"))
    });
    // The handshake is done, so this does not wait.
    let (_, peer) = server.accept().unwrap();
    drop(stream);
    peer.ip()
}

pub(crate) fn listen(namespace: &Namespace, address: &str) -> TcpListener {
    namespace.run(|| TcpListener::bind(address).unwrap())
}

pub(crate) fn refused(client: &Namespace, to: &str) {
    let to: SocketAddr = to.parse().unwrap();
    let result = client.run(|| TcpStream::connect_timeout(&to, PATIENCE));
    assert_eq!(
        result.unwrap_err().kind(),
        ErrorKind::ConnectionRefused,
        "{to}"
    );
}

pub(crate) fn at(ip: &str, server: &TcpListener) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), server.local_addr().unwrap().port())
}

fn port(port: u16, protocol: Protocol) -> Port {
    Port {
        port,
        last: port,
        protocol,
        name: None,
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_guest_reaches_the_outside_as_its_pod() {
    let world = World::new();
    let (_taps, _up) = world.up(&world.plan(Vec::new()));
    let guest = world.guest();
    let server = listen(&world.outside, "0.0.0.0:0");
    assert_eq!(
        seen(&guest, at("100.64.0.1", &server), &server),
        ip("100.64.0.2")
    );
    let server = listen(&world.outside, "[::]:0");
    assert_eq!(
        seen(&guest, at("fd00:64::1", &server), &server),
        ip("fd00:64::2")
    );
}

#[test]
fn the_outside_reaches_every_port_of_the_guest() {
    let world = World::new();
    let (_taps, _up) = world.up(&world.plan(Vec::new()));
    let guest = world.guest();
    for _ in 0..2 {
        let server = listen(&guest, "0.0.0.0:0");
        assert_eq!(
            seen(&world.outside, at("100.64.0.2", &server), &server),
            ip("100.64.0.1")
        );
    }
    let server = listen(&guest, "[::]:0");
    assert_eq!(
        seen(&world.outside, at("fd00:64::2", &server), &server),
        ip("fd00:64::1")
    );
}

#[test]
fn a_process_in_the_pod_reaches_the_guest_at_localhost() {
    let world = World::new();
    let (_taps, _up) = world.up(&world.plan(Vec::new()));
    let guest = world.guest();
    let server = listen(&guest, "0.0.0.0:0");
    assert_eq!(
        seen(&world.pod, at("127.0.0.1", &server), &server),
        ip("10.0.2.1")
    );
    assert_eq!(
        seen(&world.pod, at("10.0.2.2", &server), &server),
        ip("10.0.2.1")
    );
    // Linux cannot route ::1 off its own loopback, so it is refused at once and clients go on to 127.0.0.1.
    refused(&world.pod, &at("::1", &server).to_string());
}

#[test]
fn the_guest_reaches_itself_at_its_pods_address() {
    let world = World::new();
    let (_taps, _up) = world.up(&world.plan(Vec::new()));
    let guest = world.guest();
    let server = listen(&guest, "0.0.0.0:0");
    assert_eq!(
        seen(&guest, at("100.64.0.2", &server), &server),
        ip("10.0.2.1")
    );
}

#[test]
fn the_guest_does_not_reach_the_pods_loopback() {
    let world = World::new();
    // Other ports are not translated, so only the guard keeps it away.
    let ports = vec![port(1, Protocol::Tcp)];
    let (_taps, _up) = world.up(&world.plan(ports));
    let guest = world.guest();
    let secret = world.pod.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let open = world.pod.run(|| UdpSocket::bind("10.0.2.1:0").unwrap());
    // As a hostile guest would: loopback addresses leave by the NIC.
    guest.sh(
        "ip rule add pref 5 lookup local; ip rule del pref 0; ip route del table local 127.0.0.0/8 dev lo; \
         ip route del table local 127.0.0.1 dev lo; ip route add 127.0.0.0/8 via 10.0.2.1; \
         sysctl -q -w net.ipv4.conf.eth0.route_localnet=1 net.ipv4.conf.all.route_localnet=1",
    );
    let attacker = guest.run(|| UdpSocket::bind("10.0.2.2:0").unwrap());
    let target = secret.local_addr().unwrap();
    attacker.send_to(b"knock", target).unwrap();
    // Both cross the same queues in order: once the second is here, the first has been handled.
    attacker
        .send_to(b"hello", open.local_addr().unwrap())
        .unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(open.recv(&mut buffer).unwrap(), 5);
    secret.set_nonblocking(true).unwrap();
    assert_eq!(
        secret.recv(&mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn with_a_ports_list_only_those_are_forwarded() {
    let world = World::new();
    let ports = vec![
        port(8080, Protocol::Tcp),
        port(8443, Protocol::Tcp),
        port(5353, Protocol::Udp),
    ];
    let (_taps, _up) = world.up(&world.plan(ports));
    let guest = world.guest();
    for number in [8080, 8443] {
        let server = listen(&guest, &format!("0.0.0.0:{number}"));
        assert_eq!(
            seen(&world.outside, at("100.64.0.2", &server), &server),
            ip("100.64.0.1")
        );
        assert_eq!(
            seen(&world.pod, at("127.0.0.1", &server), &server),
            ip("10.0.2.1")
        );
        assert_eq!(
            seen(&guest, at("100.64.0.2", &server), &server),
            ip("10.0.2.1")
        );
    }
    // Listened to by the guest, and not forwarded; 5353 only as UDP.
    let _unlisted = [
        listen(&guest, "0.0.0.0:8081"),
        listen(&guest, "0.0.0.0:5353"),
    ];
    for number in [8081, 5353] {
        refused(&world.outside, &format!("100.64.0.2:{number}"));
        refused(&world.pod, &format!("127.0.0.1:{number}"));
    }
    let server = guest.run(|| UdpSocket::bind("0.0.0.0:5353").unwrap());
    let client = world
        .outside
        .run(|| UdpSocket::bind("100.64.0.1:0").unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"ask", "100.64.0.2:5353").unwrap();
    let mut buffer = [0; 8];
    let (length, peer) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], peer.ip()),
        (&b"ask"[..], ip("100.64.0.1"))
    );
    server.send_to(b"answer", peer).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.to_string()),
        (&b"answer"[..], "100.64.0.2:5353".into())
    );
}

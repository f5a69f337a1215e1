//! Ranges of ports, and Istio's proxy between outside and guest.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use launcher::net::plan::{Istio, NetworkPlan, Wiring};
use launcher::net::setup::{set_up, verify};
use launcher::spec::nic::{Port, Protocol};

use crate::namespace::Namespace;
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(5);

fn range(port: u16, last: u16, protocol: Protocol) -> Port {
    Port {
        port,
        last,
        protocol,
        name: None,
    }
}

fn listen(namespace: &Namespace, address: &str) -> TcpListener {
    namespace.run(|| TcpListener::bind(address).unwrap())
}

/// Whom `server` sees when `client` connects to it by `to`.
fn seen(client: &Namespace, to: &str, server: &TcpListener) -> String {
    let to: SocketAddr = to.parse().unwrap();
    let stream = client.run(|| {
        TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|error| panic!("{to}: {error}"))
    });
    server.set_nonblocking(true).unwrap();
    // The handshake is done: whoever answered it has the connection by now.
    let (_, peer) = server
        .accept()
        .unwrap_or_else(|error| panic!("{to} is somebody else: {error}"));
    drop(stream);
    peer.ip().to_string()
}

fn refused(client: &Namespace, to: &str) {
    let to: SocketAddr = to.parse().unwrap();
    let result = client.run(|| TcpStream::connect_timeout(&to, PATIENCE));
    let kind = result.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::ConnectionRefused, "{to}");
}

#[test]
fn a_range_is_forwarded_from_its_first_port_to_its_last() {
    let world = World::new();
    let plan = world.plan(vec![
        range(8000, 8010, Protocol::Tcp),
        range(8005, 8020, Protocol::Tcp),
        range(443, 443, Protocol::Tcp),
        range(5000, 5001, Protocol::Udp),
    ]);
    let (_taps, _up) = world.up(&plan);
    world
        .pod
        .block_on(async || verify(&plan).await)
        .unwrap_or_else(|failures| panic!("{failures:?}"));
    let again = world.pod.block_on(async || set_up(&plan).await.unwrap());
    assert!(again.found_ready(), "nft lists what it was given");
    let guest = world.guest();
    for port in [443, 8000, 8010, 8020] {
        let server = listen(&guest, &format!("0.0.0.0:{port}"));
        let outside = seen(&world.outside, &format!("100.64.0.2:{port}"), &server);
        assert_eq!(outside, "100.64.0.1");
        // The guest itself, by its pod's address.
        let hairpin = seen(&guest, &format!("100.64.0.2:{port}"), &server);
        assert_eq!(hairpin, "10.0.2.1");
    }
    for port in [444, 7999, 8021] {
        let _unlisted = listen(&guest, &format!("0.0.0.0:{port}"));
        refused(&world.outside, &format!("100.64.0.2:{port}"));
    }
    let server = guest.run(|| UdpSocket::bind("0.0.0.0:5001").unwrap());
    let client = world
        .outside
        .run(|| UdpSocket::bind("100.64.0.1:0").unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"ask", "100.64.0.2:5001").unwrap();
    assert_eq!(server.recv(&mut [0; 8]).unwrap(), 3);
}

fn behind_istio(world: &World) -> NetworkPlan {
    let mut plan = world.plan(Vec::new());
    if let Wiring::Masquerade(nat) = &mut plan.nics[0].wiring {
        nat.istio = Some(Istio {
            pod: Some(world.block.pod().addr()),
        });
    }
    plan
}

#[test]
fn istios_proxy_stands_between_outside_and_guest() {
    let world = World::new();
    let plan = behind_istio(&world);
    let (_taps, _up) = world.up(&plan);
    let again = world.pod.block_on(async || set_up(&plan).await.unwrap());
    assert!(again.found_ready());
    let guest = world.guest();
    // SSH goes straight to the guest.
    let ssh = listen(&guest, "0.0.0.0:22");
    assert_eq!(seen(&world.outside, "100.64.0.2:22", &ssh), "100.64.0.1");
    // Anything else meets the pod first, where the proxy would be.
    let web = listen(&guest, "0.0.0.0:8080");
    let proxy = listen(&world.pod, "0.0.0.0:8080");
    assert_eq!(
        seen(&world.outside, "100.64.0.2:8080", &proxy),
        "100.64.0.1"
    );
    // The proxy hands it on by the pod's address, from the loopback address that is its own.
    let handed_on = world.pod.run(|| {
        use std::os::fd::AsRawFd;
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        )
        .unwrap();
        let from = nix::sys::socket::SockaddrIn::new(127, 0, 0, 6, 0);
        nix::sys::socket::bind(socket.as_raw_fd(), &from).unwrap();
        let to = nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 8080);
        nix::sys::socket::connect(socket.as_raw_fd(), &to).unwrap();
        socket
    });
    let (_, peer) = web.accept().unwrap();
    assert_eq!(peer.ip().to_string(), "10.0.2.1");
    drop(handed_on);
    assert_eq!(seen(&world.pod, "100.64.0.2:8080", &web), "100.64.0.2");
    // The proxy's own parts still find each other.
    let own = listen(&world.pod, "127.0.0.1:15020");
    let _guests = listen(&guest, "0.0.0.0:15020");
    assert_eq!(seen(&world.pod, "127.0.0.1:15020", &own), "127.0.0.1");
}

/// The DHCP server's is the one port that the launcher opens: on the bridge alone, whatever is forwarded.
#[test]
fn the_launchers_own_port_is_the_bridges_alone() {
    let world = World::new();
    let mut plan = world.plan(vec![range(80, 80, Protocol::Tcp)]);
    let planned = crate::bridged::planned(
        &world.pod,
        "[{name: default, masquerade: {}, ports: [{port: 80}]}]",
        "[{name: default, pod: {}}]",
    );
    plan.nics[0].dhcp.clone_from(&planned.nics[0].dhcp);
    let (_taps, _up) = world.up(&plan);
    let lease = plan.nics[0].dhcp.as_ref().unwrap();
    let _server = world
        .pod
        .run(|| launcher::net::dhcp::Server::bind(lease).unwrap());
    let listening = world.pod.sh("ss -Hlntu");
    let lines: Vec<&str> = listening.lines().collect();
    assert_eq!(lines.len(), 1, "{listening}");
    assert!(lines[0].contains("0.0.0.0%k6t-eth0:67"), "{listening}");
    let client = world
        .outside
        .run(|| UdpSocket::bind("100.64.0.1:0").unwrap());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect("100.64.0.2:67").unwrap();
    client.send(b"knock").unwrap();
    let answer = client.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(answer.kind(), ErrorKind::ConnectionRefused);
}

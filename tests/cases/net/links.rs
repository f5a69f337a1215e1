//! Links as netlink tells them, beside what `ip` prints; and the pod's NIC.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use launcher::net::error::NetError;
use launcher::net::link::read_links;
use launcher::net::veth::{NetNs, PodNic, delete_pod_nic, pod_nic};

use crate::world::{MTU, World};

#[test]
fn links_are_read_as_ip_prints_them() {
    let world = World::new();
    world.pod.sh(
        "ip route add 192.0.2.0/24 via 100.64.0.1; ip route add blackhole 198.51.100.0/24; \
         ip route add 203.0.113.0/24 via 100.64.0.1 table 100",
    );
    let links = world.pod.block_on(async || read_links().await.unwrap());
    let printed = world.pod.json("ip -j addr");
    assert_eq!(links.len(), printed.as_array().unwrap().len());
    for (link, printed) in links.iter().zip(printed.as_array().unwrap()) {
        assert_eq!(printed["ifindex"], link.index);
        assert_eq!(printed["ifname"], link.name);
        assert_eq!(printed["mtu"], link.mtu);
        let flags = printed["flags"].to_string();
        assert_eq!(flags.contains("\"UP\""), link.up);
        let mut addresses: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
        addresses.extend(link.addresses6.iter().map(ToString::to_string));
        let wanted: Vec<String> = printed["addr_info"]
            .as_array()
            .unwrap()
            .iter()
            .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
            .collect();
        assert_eq!(addresses, wanted);
    }
    let eth0 = links.iter().find(|link| link.name == "eth0").unwrap();
    assert_eq!(eth0.mac, Some(world.block.mac()));
    let mut routes: Vec<String> = eth0
        .routes
        .iter()
        .map(|route| format!("{} {:?}", route.destination, route.gateway))
        .collect();
    routes.sort();
    assert_eq!(
        routes,
        [
            "0.0.0.0/0 Some(100.64.0.1)",
            "100.64.0.0/30 None",
            "192.0.2.0/24 Some(100.64.0.1)"
        ]
    );
}

#[test]
fn the_pods_nic_is_a_veth_pair() {
    let world = World::new();
    let host = &world.outside.json("ip -j addr show vl-64400000")[0];
    assert_eq!(host["mtu"], MTU);
    assert_eq!(host["operstate"], "UP");
    assert!(host.to_string().contains("\"100.64.0.1\""), "{host}");
    let pod = &world.pod.json("ip -j addr show eth0")[0];
    assert_eq!(pod["mtu"], MTU);
    assert_eq!(pod["address"], "02:00:64:40:00:02");
    assert!(pod.to_string().contains("\"100.64.0.2\""), "{pod}");
    world
        .pod
        .sh("ping -c 1 -W 5 100.64.0.1 || busybox ping -c 1 -W 5 100.64.0.1");
    let delete = || {
        world
            .outside
            .block_on(async || delete_pod_nic("vl-64400000").await.unwrap());
    };
    delete();
    assert!(!world.pod.sh("ip -br link").contains("eth0"));
    delete();
}

#[test]
fn a_pair_that_cannot_be_made_leaves_nothing() {
    let world = World::new();
    let nic = PodNic::new(world.block, MTU, true);
    let states = || (world.outside.state(), world.pod.state());
    let before = states();
    let target = NetNs::Fd(world.pod.file.as_fd());
    let error = world
        .outside
        .block_on(async || pod_nic(&nic, target).await)
        .unwrap_err();
    assert!(matches!(error, NetError::Link { .. }), "{error:?}");
    // The machine's end is new, the pod's exists.
    let other = PodNic {
        host_link: "vl-other".into(),
        ..nic
    };
    let error = world
        .outside
        .block_on(async || pod_nic(&other, target).await)
        .unwrap_err();
    assert!(matches!(error, NetError::Link { .. }), "{error:?}");
    assert_eq!(states(), before);
}

#[test]
fn a_namespace_can_be_named_by_a_process() {
    let world = World::new();
    // One that is in a namespace of its own until its input ends.
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo ready; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`unshare` of util-linux runs");
    let mut ready = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let nic = PodNic {
        host_link: "vl-pid".into(),
        ..PodNic::new(world.block, MTU, true)
    };
    world
        .pod
        .block_on(async || pod_nic(&nic, NetNs::Pid(child.id())).await.unwrap());
    let links = Command::new("nsenter")
        .args([
            "--net",
            "--target",
            &child.id().to_string(),
            "ip",
            "-br",
            "link",
        ])
        .output()
        .expect("`nsenter` of util-linux runs");
    assert!(String::from_utf8(links.stdout).unwrap().contains("eth0"));
    drop(child.stdin.take());
    child.wait().unwrap();
}

//! What was planned is in the kernel, twice is the same as once, and undone is as if never done.

use std::os::fd::AsRawFd;

use launcher::net::setup::{NetworkUp, open_taps, set_up, verify};

use crate::world::{MTU, World};

#[test]
fn the_kernel_has_what_was_planned() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let (taps, up) = world.up(&plan);
    assert!(!up.found_ready());
    world
        .pod
        .block_on(async || verify(&plan).await)
        .unwrap_or_else(|failures| panic!("{failures:?}"));

    let bridge = &world.pod.json("ip -j -d addr show k6t-eth0")[0];
    assert_eq!(bridge["address"], "02:00:00:00:00:00");
    assert_eq!(bridge["mtu"], MTU);
    assert_eq!(bridge["operstate"], "UP");
    assert_eq!(bridge["linkinfo"]["info_data"]["stp_state"], 0);
    let addresses: Vec<String> = bridge["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
        .collect();
    assert!(addresses.contains(&"10.0.2.1/24".into()), "{addresses:?}");
    assert!(
        addresses.contains(&"fd10:0:2::1/120".into()),
        "{addresses:?}"
    );
    // No waiting for duplicate address detection.
    let gateway = bridge["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .find(|info| info["local"] == "fd10:0:2::1");
    assert!(gateway.unwrap().get("tentative").is_none(), "{bridge}");

    let tap = &world.pod.json("ip -j -d link show tap0")[0];
    assert_eq!(tap["master"], "k6t-eth0");
    assert_eq!(tap["mtu"], MTU);
    assert_eq!(tap["linkinfo"]["info_data"]["type"], "tap");
    assert_eq!(tap["linkinfo"]["info_data"]["vnet_hdr"], true);
    assert_eq!(tap["linkinfo"]["info_data"]["pi"], false);
    assert_eq!(tap["linkinfo"]["info_data"]["persist"], false);
    assert!(taps.queue("tap0", 0).is_some_and(|fd| fd.as_raw_fd() > 2));
    assert!(taps.queue("tap0", 1).is_none() && taps.vhost_net("tap0", 0).is_none());

    let rules = world.pod.json("nft -j list ruleset").to_string();
    assert_eq!(rules.matches("\"masquerade\":null").count(), 2, "{rules}");
    let forwarding = world.pod.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv4/conf/k6t-eth0/route_localnet");
    assert_eq!(forwarding, "1\n1\n1\n");
    // The pod's own default route may come from an advertisement, which a router would otherwise not take.
    let advertised = world.pod.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra");
    assert_eq!(advertised, "2\n");
}

#[test]
fn twice_is_once_and_undone_is_never() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let taps = world.pod.run(|| open_taps(&plan).unwrap());
    let before = world.pod.state();
    let set_up = || -> NetworkUp { world.pod.block_on(async || set_up(&plan).await.unwrap()) };
    let first = set_up();
    let once = world.pod.state();
    let second = set_up();
    assert!(second.found_ready());
    assert_eq!(world.pod.state(), once);
    let undo = |up: NetworkUp| world.pod.block_on(async || up.undo().await.unwrap());
    undo(second);
    assert_eq!(
        world.pod.state(),
        once,
        "what was there before a set-up is not its to undo"
    );
    undo(first);
    assert_eq!(world.pod.state(), before);
    drop(taps);
    assert_eq!(world.pod.sh("ip -br link show type tun"), "");
}

#[test]
fn undo_is_content_with_what_is_gone_already() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let (taps, up) = world.up(&plan);
    drop(taps);
    world.pod.sh("ip link del k6t-eth0; nft flush ruleset");
    world.pod.block_on(async || up.undo().await.unwrap());
}

#[test]
fn verify_tells_everything_that_differs() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let (_taps, _up) = world.up(&plan);
    world
        .pod
        .sh("ip link set tap0 nomaster; sysctl -q -w net.ipv4.ip_forward=0");
    let failures = world
        .pod
        .block_on(async || verify(&plan).await)
        .unwrap_err();
    let text: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let bridge = &world.pod.json("ip -j link show k6t-eth0")[0]["ifindex"];
    assert_eq!(
        text,
        [
            format!("link tap0: its bridge's index is `none`, planned was `{bridge}`"),
            "net/ipv4/ip_forward is `0`, planned was `1`".to_owned(),
        ]
    );
}

#[test]
fn a_queue_is_an_fd() {
    let world = World::new();
    let mut plan = world.plan(Vec::new());
    plan.nics[0].tap.queues = 4;
    let (taps, _up) = world.up(&plan);
    assert_eq!(taps.taps[0].queues.len(), 4);
    let tap = &world.pod.json("ip -j -d link show tap0")[0];
    let data = &tap["linkinfo"]["info_data"];
    assert_eq!(data["multi_queue"], true);
    assert_eq!(data["numqueues"], 4);
}

#[test]
fn vhost_goes_with_every_queue_or_is_told_to_be_missing() {
    let world = World::new();
    let mut plan = world.plan(Vec::new());
    plan.nics[0].tap.vhost = true;
    match world.pod.run(|| open_taps(&plan)) {
        Ok(taps) => assert!(taps.vhost_net("tap0", 0).is_some()),
        // This machine has none: the message names it, and the tap is gone again.
        Err(error) => {
            assert!(error.to_string().contains("`/dev/vhost-net`"), "{error}");
            assert_eq!(world.pod.sh("ip -br link show type tun"), "");
        }
    }
}

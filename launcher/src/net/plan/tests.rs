mod bridged;
mod ipv6;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hugepages::Bytes;
use uuid::Uuid;

use super::*;
use crate::host::{CpuIdentity, HostFacts, Link, Resolver, Route};
use crate::refusal::Notice;
use crate::spec::nic::{Binding, Network, Nic, NicModel};
use crate::spec::{
    Identity, Lifecycle, RebootPolicy, Spec, cpu, device, firmware, iothread, memory, placing,
};

const UID: Uuid = Uuid::from_u128(0x1234_5678);

fn nic() -> Nic {
    Nic {
        name: "default".into(),
        path: "spec.domain.devices.interfaces[0]".into(),
        network: Network::Primary { pod_link: None },
        binding: Binding::Masquerade {
            cidr: "10.0.2.0/24".parse().unwrap(),
            cidr6: "fd10:0:2::/120".parse().unwrap(),
            ports: Vec::new(),
            istio: false,
        },
        model: NicModel::Virtio,
        mac: None,
        queues: 1,
        boot_order: None,
        pci_address: None,
        acpi_index: None,
        link_down: false,
        dhcp_options: DhcpOptions::default(),
    }
}

fn spec(nics: Vec<Nic>) -> Spec {
    Spec {
        identity: Identity {
            namespace: "default".into(),
            name: "vm".into(),
            uid: UID,
            hostname: "guest".into(),
            subdomain: None,
        },
        cpu: cpu::Cpu::default(),
        memory: memory::Memory {
            guest: Bytes(128 << 20),
            hugepages: None,
            memfd: true,
            free_page_reporting: false,
        },
        firmware: firmware::Firmware {
            machine_type: "q35".into(),
            uuid: UID,
            serial: None,
            chassis: firmware::Chassis::default(),
            bios_serial: false,
            acpi: true,
            smm: false,
            clock: firmware::Clock::default(),
            kernel_boot: None,
        },
        placement: placing::Placing::default(),
        iothreads: iothread::Iothreads::default(),
        disks: Vec::new(),
        nics,
        host_devices: Vec::new(),
        devices: device::Devices {
            graphics: false,
            video: None,
            serial_console: true,
            balloon: false,
            rng: false,
            panics: Vec::new(),
            watchdog: None,
            inputs: Vec::new(),
            virtio_transitional: false,
            disable_hotplug: false,
            block_multi_queue: false,
        },
        lifecycle: Lifecycle {
            grace_period: Duration::from_secs(30),
            start_paused: false,
            reboot_policy: RebootPolicy::Reboot,
        },
    }
}

fn link(name: &str, addresses: &[&str], addresses6: &[&str]) -> Link {
    Link {
        index: 2,
        name: name.into(),
        mac: Some("0a:58:0a:f4:00:05".parse().unwrap()),
        mtu: 1450,
        up: true,
        controller: None,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
        addresses6: addresses6.iter().map(|net| net.parse().unwrap()).collect(),
        routes: Vec::new(),
    }
}

fn facts(links: Vec<Link>) -> HostFacts {
    HostFacts {
        cpus: "0-1".parse().unwrap(),
        mems: "0".parse().unwrap(),
        cpu: CpuIdentity::default(),
        memory_limit: None,
        kvm: true,
        vhost_net: true,
        tun: true,
        iommufd: false,
        net_raw: true,
        hostname: "virt-launcher-vm-x7k2p".into(),
        resolver: Resolver {
            nameservers: vec![Ipv4Addr::new(10, 96, 0, 10)],
            nameservers6: Vec::new(),
            search: vec![
                "default.svc.cluster.local".into(),
                "svc.cluster.local".into(),
            ],
        },
        links,
        vif_caches: Default::default(),
        environment: Default::default(),
        ..crate::plan::fixtures::facts()
    }
}

fn pod() -> HostFacts {
    facts(vec![link("eth0", &["10.244.0.5/24"], &["fe80::1/64"])])
}

fn planned(spec: &Spec, facts: &HostFacts) -> (NicPlan, Vec<Notice>) {
    let (mut plan, notices) = plan(spec, facts).unwrap();
    (plan.nics.remove(0), notices)
}

fn nat(plan: &NicPlan) -> &Masquerade {
    plan.masquerade().unwrap()
}

#[test]
fn a_pod_with_ipv4_gives_the_guest_kubevirts_network() {
    let (plan, notices) = planned(&spec(vec![nic()]), &pod());
    assert_eq!(notices, []);
    insta::assert_json_snapshot!(plan);
}

#[test]
fn each_family_follows_the_pods_addresses() {
    for (addresses, addresses6, v4, v6) in [
        (&["10.244.0.5/24"][..], &["fd00::5/64"][..], true, true),
        (&["169.254.3.4/16"], &["fd00::5/64"], false, true),
        (&["10.244.0.5/24"], &["fe80::5/64"], true, false),
        (&[], &[], false, false),
    ] {
        let facts = facts(vec![link("eth0", addresses, addresses6)]);
        let (plan, notices) = planned(&spec(vec![nic()]), &facts);
        assert_eq!(plan.bridge.address.is_some(), v4, "{addresses:?}");
        assert_eq!(nat(&plan).guest.is_some(), v4);
        assert_eq!(plan.dhcp.is_some(), v4);
        assert_eq!(plan.bridge.address6.is_some(), v6, "{addresses6:?}");
        assert_eq!(nat(&plan).guest6.is_some(), v6);
        assert_eq!(notices.is_empty(), v4 || v6);
    }
}

#[test]
fn another_link_serves_when_it_has_the_default_route() {
    let mut other = link("net1", &["10.1.0.5/24"], &[]);
    other.routes.push(Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        gateway: Some(Ipv4Addr::new(10, 1, 0, 1)),
    });
    let without = link("net0", &["10.3.0.5/24"], &[]);
    let (plan, _) = planned(
        &spec(vec![nic()]),
        &facts(vec![without.clone(), other.clone()]),
    );
    assert_eq!(
        (plan.pod_link.as_str(), plan.bridge.name.as_str()),
        ("net1", "k6t-net1")
    );
    let eth0 = link("eth0", &["10.2.0.5/24"], &[]);
    let (plan, _) = planned(&spec(vec![nic()]), &facts(vec![other, eth0]));
    assert_eq!(plan.pod_link, "eth0");
    let (plan, notices) = planned(&spec(vec![nic()]), &facts(vec![without]));
    assert_eq!((plan.pod_link.as_str(), notices.len()), ("eth0", 1));
}

#[test]
fn a_laptop_gets_a_plan_with_stated_assumptions() {
    let (plan, notices) = planned(&spec(vec![nic()]), &facts(Vec::new()));
    assert_eq!(plan.mtu, 1500);
    assert_eq!(plan.guest_mac, pod_nic::derived(UID, "eth0"));
    assert_eq!(plan.guest_mac.0[0], 2);
    assert!(plan.bridge.address6.is_none());
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].message.contains("MTU 1500"),
        "{}",
        notices[0].message
    );
}

#[test]
fn the_guest_takes_the_mac_that_was_asked_else_the_pods() {
    let mut asked = nic();
    asked.mac = Some("02:11:22:33:44:55".parse().unwrap());
    let (plan, _) = planned(&spec(vec![asked.clone()]), &pod());
    assert_eq!(Some(plan.guest_mac), asked.mac);
    assert_eq!(plan.dhcp.unwrap().client, plan.guest_mac);
    let mut loopback_like = pod();
    loopback_like.links[0].mac = None;
    let (plan, _) = planned(&spec(vec![nic()]), &loopback_like);
    assert_eq!(plan.guest_mac, pod_nic::derived(UID, "eth0"));
}

#[test]
fn only_virtio_has_queues_and_vhost() {
    let mut many = nic();
    many.queues = 4;
    let (plan, _) = planned(&spec(vec![many.clone()]), &pod());
    assert_eq!((plan.tap.queues, plan.tap.vhost), (4, true));
    many.model = NicModel::E1000;
    let (plan, _) = planned(&spec(vec![many.clone()]), &pod());
    assert_eq!((plan.tap.queues, plan.tap.vhost), (1, false));
    many.model = NicModel::Virtio;
    let mut bare = pod();
    bare.vhost_net = false;
    assert!(!planned(&spec(vec![many]), &bare).0.tap.vhost);
}

#[test]
fn gateway_and_guest_are_the_first_hosts_of_the_range() {
    let mut small = nic();
    small.binding = Binding::Masquerade {
        cidr: "192.168.7.15/30".parse().unwrap(),
        cidr6: "fd00:7::7/126".parse().unwrap(),
        ports: Vec::new(),
        istio: false,
    };
    let dual = facts(vec![link("eth0", &["10.244.0.5/24"], &["2001:db8::5/64"])]);
    let (plan, _) = planned(&spec(vec![small]), &dual);
    assert_eq!(plan.bridge.address.unwrap().to_string(), "192.168.7.13/30");
    assert_eq!(nat(&plan).guest.unwrap().to_string(), "192.168.7.14/30");
    assert_eq!(plan.bridge.address6.unwrap().to_string(), "fd00:7::5/126");
    assert_eq!(nat(&plan).guest6.unwrap().to_string(), "fd00:7::6/126");
}

#[test]
fn all_violations_come_at_once() {
    let mut small = nic();
    small.binding = Binding::Masquerade {
        cidr: "10.0.2.0/31".parse().unwrap(),
        cidr6: "fd10:0:2::/127".parse().unwrap(),
        ports: Vec::new(),
        istio: false,
    };
    let violations = plan(&spec(vec![small, nic()]), &pod()).unwrap_err();
    assert_eq!(violations.len(), 3, "{violations:?}");
}

#[test]
fn an_overlap_with_the_pods_own_network_is_told() {
    let (_, notices) = planned(
        &spec(vec![nic()]),
        &facts(vec![link("eth0", &["10.0.2.15/24"], &[])]),
    );
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].message.contains("`10.0.2.15/24`"),
        "{}",
        notices[0].message
    );
    // The bridge that virt-handler has made is no overlap.
    let mut prepared = pod();
    prepared.links.push(link("k6t-eth0", &["10.0.2.1/24"], &[]));
    assert_eq!(planned(&spec(vec![nic()]), &prepared).1, []);
}

fn search(domains: &[&str], subdomain: Option<&str>) -> (Vec<String>, Vec<Notice>) {
    let mut spec = spec(vec![nic()]);
    spec.identity.subdomain = subdomain.map(Into::into);
    let mut facts = pod();
    facts.resolver.search = domains.iter().map(|&domain| domain.into()).collect();
    let (plan, notices) = planned(&spec, &facts);
    (plan.dhcp.unwrap().search, notices)
}

#[test]
fn the_search_list_follows_kubevirts_rules() {
    assert_eq!(search(&[], None).0, ["cluster.local"]);
    assert_eq!(search(&["Example.ORG."], None).0, ["example.org"]);
    let pods = ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    assert_eq!(
        search(&pods, Some("sub")).0,
        [
            "sub.ns.svc.cluster.local",
            "ns.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local"
        ]
    );
    assert_eq!(search(&pods, Some("ns")).0, pods);
    assert_eq!(search(&["example.org"], Some("sub")).0, ["example.org"]);
}

#[test]
fn what_the_option_cannot_carry_is_told() {
    let (domains, notices) = search(&[".", "bad domain", "-x.org", "good.org"], None);
    assert_eq!(domains, ["good.org"]);
    assert_eq!(notices.len(), 3);
    let long = format!("{}.org", "a".repeat(60));
    let (domains, notices) = search(&[long.as_str(); 5], None);
    // 64 + 2 bytes each: three fit in 255.
    assert_eq!((domains.len(), notices.len()), (3, 1));
}

#[test]
fn name_servers_fall_back_as_kubevirts() {
    let servers = |v4: &[[u8; 4]], v6: &[Ipv6Addr]| {
        let mut facts = pod();
        facts.resolver.nameservers = v4.iter().map(|&octets| octets.into()).collect();
        facts.resolver.nameservers6 = v6.to_vec();
        let (plan, notices) = planned(&spec(vec![nic()]), &facts);
        (plan.dhcp.unwrap().nameservers, notices.len())
    };
    let fallback = vec![Ipv4Addr::new(8, 8, 8, 8)];
    assert_eq!(servers(&[], &[]), (fallback.clone(), 0));
    // One for the server that is no use, one for what stands in for it.
    assert_eq!(servers(&[[127, 0, 0, 53]], &[]), (fallback.clone(), 2));
    assert_eq!(servers(&[], &[Ipv6Addr::LOCALHOST]), (fallback, 1));
    let elsewhere = "fd00::a".parse().unwrap();
    assert_eq!(servers(&[], &[elsewhere]), (Vec::new(), 1));
    assert_eq!(
        servers(&[[127, 0, 0, 53], [9, 9, 9, 9]], &[]),
        (vec![Ipv4Addr::new(9, 9, 9, 9)], 1)
    );
}

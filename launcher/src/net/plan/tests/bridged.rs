//! Several networks, bridged; made by us or found.

use super::*;
use crate::host::VifCache;
use crate::host::netdev::LinkVf;

fn blue() -> Nic {
    Nic {
        name: "blue".into(),
        path: "spec.domain.devices.interfaces[1]".into(),
        network: Network::Secondary {
            definition: "blue-network".into(),
            ordinal: 1,
        },
        binding: Binding::Bridge,
        ..nic()
    }
}

fn on_pod_network() -> Nic {
    Nic {
        binding: Binding::Bridge,
        ..nic()
    }
}

fn calico() -> Link {
    let gateway = Some(Ipv4Addr::new(169, 254, 1, 1));
    let route = |destination: &str, gateway| Route {
        destination: destination.parse().unwrap(),
        gateway,
    };
    Link {
        routes: vec![route("0.0.0.0/0", gateway), route("169.254.1.1/32", None)],
        ..link("eth0", &["10.244.0.5/32"], &["fe80::1/64"])
    }
}

fn bridged(plan: &NicPlan) -> &Bridged {
    match &plan.wiring {
        Wiring::Bridged(bridged) => bridged,
        Wiring::Masquerade(_) => panic!("{} is masqueraded", plan.name),
    }
}

/// The links that virt-handler leaves of `eth0`, whose index is 2.
fn prepared() -> Vec<Link> {
    let port = |name: &str, index| Link {
        index,
        controller: Some(3),
        routes: Vec::new(),
        ..link(name, &[], &[])
    };
    let dummy = Link {
        index: 5,
        up: false,
        routes: Vec::new(),
        ..calico()
    };
    let bridge = Link {
        index: 3,
        mac: Some("02:5e:00:00:00:01".parse().unwrap()),
        ..link("k6t-eth0", &["169.254.75.10/32"], &[])
    };
    vec![port("eth0-nic", 2), bridge, port("tap0", 4), dummy]
}

#[test]
fn the_guest_gets_the_pods_address_and_its_point_to_point_route() {
    let (plan, notices) = planned(&spec(vec![on_pod_network()]), &facts(vec![calico()]));
    assert_eq!(notices, []);
    insta::assert_json_snapshot!(plan);
}

#[test]
fn a_vf_is_known_as_one_and_what_it_needs_is_told() {
    let mut facts = facts(vec![calico()]);
    let vf = LinkVf {
        physical: "0000:41:00.0".parse().unwrap(),
        number: Some(3),
    };
    facts.link_vfs.insert("eth0".into(), vf.clone());
    let (plan, notices) = planned(&spec(vec![on_pod_network()]), &facts);
    assert_eq!(bridged(&plan).vf, Some(BridgedVf::from(&vf)));
    let [notice] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(
        notice
            .message
            .contains("`ip link set PF vf 3 trust on spoofchk off`"),
        "{notice:?}"
    );
    // Masqueraded it keeps its own address.
    let (_, notices) = planned(&spec(vec![nic()]), &facts);
    assert_eq!(notices, []);
}

#[test]
fn every_network_has_links_of_its_own() {
    let spec = spec(vec![nic(), blue()]);
    let net = link("pod16477688c0e", &[], &[]);
    let (plan, notices) = plan(&spec, &facts(vec![calico(), net])).unwrap();
    assert_eq!(notices, []);
    let [first, second] = plan.nics.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(first.tap.name, "tap0");
    assert!(first.dhcp.is_some());
    assert_eq!(second.pod_link, "pod16477688c0e");
    assert_eq!(second.bridge.name, "k6t-16477688c0e");
    assert_eq!(second.tap.name, "tap16477688c0e");
    assert_eq!(bridged(second).nic, "16477688c0e-nic");
    assert_eq!(second.bridge.address, None);
    assert_eq!(second.dhcp, None, "a network without addresses has its own");
    assert_ne!(second.bridge.mac, bridged(second).pod_mac);
}

#[test]
fn the_old_names_are_known() {
    let old = link("net1", &["10.9.0.5/24"], &[]);
    let (plan, _) = planned(&spec(vec![blue()]), &facts(vec![calico(), old.clone()]));
    assert_eq!(
        (plan.bridge.name.as_str(), plan.tap.name.as_str()),
        ("k6t-net1", "tap1")
    );
    let lease = plan.dhcp.unwrap();
    assert_eq!((lease.router, lease.routes), (None, Vec::new()));
    let new = link("pod16477688c0e", &[], &[]);
    let (plan, _) = planned(&spec(vec![blue()]), &facts(vec![old, new]));
    assert_eq!(plan.pod_link, "pod16477688c0e");
}

#[test]
fn a_network_without_its_link_is_told() {
    let (plan, notices) = planned(&spec(vec![blue()]), &facts(vec![calico()]));
    assert_eq!(plan.pod_link, "pod16477688c0e");
    assert_eq!(notices.len(), 1);
    let message = &notices[0].message;
    assert!(
        message.contains("`blue-network`") && message.contains("no address"),
        "{message}"
    );
}

#[test]
fn the_status_names_the_first_link() {
    let mut renamed = on_pod_network();
    renamed.network = Network::Primary {
        pod_link: Some("ovn-udn1".into()),
    };
    let links = vec![calico(), link("ovn-udn1", &["10.3.0.5/24"], &[])];
    let (plan, _) = planned(&spec(vec![renamed]), &facts(links));
    assert_eq!(plan.bridge.name, "k6t-ovn-udn1");
    assert_eq!(plan.tap.name, "tap0");
}

#[test]
fn an_address_of_the_other_family_is_not_handed_over() {
    let six = link(
        "eth0",
        &["169.254.9.9/16"],
        &["2001:db8::5/64", "fe80::1/64"],
    );
    let (plan, notices) = planned(&spec(vec![on_pod_network()]), &facts(vec![six]));
    assert_eq!((&plan.dhcp, plan.bridge.address), (&None, None));
    assert_eq!(
        bridged(&plan).addresses,
        ["2001:db8::5/64".parse::<IpNet>().unwrap()]
    );
    assert_eq!(notices.len(), 1);
}

#[test]
fn what_was_prepared_is_used_with_what_was_noted() {
    let mut facts = facts(prepared());
    let calico = calico();
    facts.vif_caches.insert(
        "eth0".into(),
        VifCache {
            mac: Some("02:00:00:00:00:77".parse().unwrap()),
            address: calico.addresses.first().copied(),
            routes: calico.routes,
        },
    );
    let (plan, notices) = planned(&spec(vec![on_pod_network()]), &facts);
    assert_eq!(notices, []);
    assert_eq!(plan.setup, Setup::Found);
    assert_eq!(plan.bridge.mac.to_string(), "02:5e:00:00:00:01");
    assert_eq!(plan.guest_mac.to_string(), "02:00:00:00:00:77");
    let lease = plan.dhcp.unwrap();
    assert_eq!(lease.server, Ipv4Addr::new(169, 254, 75, 10));
    assert_eq!(lease.router, Some(Ipv4Addr::new(169, 254, 1, 1)));
    assert_eq!(lease.routes.len(), 2);
    assert_eq!(lease.client, plan.guest_mac);
}

#[test]
fn without_a_note_the_stand_in_tells_the_address() {
    let (plan, notices) = planned(&spec(vec![on_pod_network()]), &facts(prepared()));
    assert_eq!(plan.setup, Setup::Found);
    assert_eq!(plan.guest_mac, bridged(&plan).pod_mac);
    let lease = plan.dhcp.unwrap();
    assert_eq!(lease.address.to_string(), "10.244.0.5/32");
    assert_eq!(lease.router, None);
    assert_eq!(notices.len(), 1);
}

#[test]
fn half_of_it_is_not_prepared() {
    for missing in ["eth0-nic", "tap0", "k6t-eth0"] {
        let mut links = prepared();
        links.retain(|link| link.name != missing);
        let (plan, _) = planned(&spec(vec![on_pod_network()]), &facts(links));
        assert_eq!(plan.setup, Setup::Made, "{missing}");
    }
    // A masquerade needs no port but the tap.
    let mut links = prepared();
    links.retain(|link| link.name != "eth0-nic");
    let (plan, _) = planned(&spec(vec![nic()]), &facts(links));
    assert_eq!(plan.setup, Setup::Found);
}

#[test]
fn the_mac_asked_for_is_the_guests_alone() {
    let mut asked = on_pod_network();
    asked.mac = Some("02:11:22:33:44:55".parse().unwrap());
    let (plan, _) = planned(&spec(vec![asked.clone()]), &facts(vec![calico()]));
    assert_eq!(Some(plan.guest_mac), asked.mac);
    assert_eq!(Some(bridged(&plan).pod_mac), calico().mac);
}

#[test]
fn a_plan_survives_its_own_json() {
    let spec = spec(vec![nic(), blue()]);
    let (plan, _) = plan(&spec, &facts(vec![calico()])).unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<NetworkPlan>(&json).unwrap(), plan);
}

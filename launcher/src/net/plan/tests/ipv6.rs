use super::*;

fn dual_stack() -> HostFacts {
    facts(vec![link("eth0", &["10.244.0.5/24"], &["fd00::5/64"])])
}

fn servers6(facts: &mut HostFacts, servers: &[&str]) {
    facts.resolver.nameservers6 = servers.iter().map(|text| text.parse().unwrap()).collect();
}

#[test]
fn the_guest_is_told_kubevirts_address_and_the_pods_resolver() {
    let mut facts = dual_stack();
    servers6(&mut facts, &["fd00::a", "::1", "fe80::1"]);
    let (plan, notices) = planned(&spec(vec![nic()]), &facts);
    let told = plan.ipv6.clone().unwrap();
    assert_eq!(told.link, "k6t-eth0");
    assert_eq!(told.router, plan.bridge.mac);
    assert_eq!(told.address.to_string(), "fd10:0:2::2/120");
    assert_eq!(told.gateway.to_string(), "fd10:0:2::1");
    assert_eq!(told.nameservers, ["fd00::a".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(told.search, plan.dhcp.unwrap().search);
    assert_eq!((told.mtu, told.advertised), (1450, true));
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].message.contains("`::1`"), "{notices:?}");
}

#[test]
fn without_ipv4_the_search_list_is_the_same() {
    let facts = facts(vec![link("eth0", &[], &["fd00::5/64"])]);
    let (plan, _) = planned(&spec(vec![nic()]), &facts);
    assert_eq!(plan.dhcp, None);
    assert_eq!(
        plan.ipv6.unwrap().search,
        ["default.svc.cluster.local", "svc.cluster.local"]
    );
}

#[test]
fn without_cap_net_raw_the_notice_has_what_to_tell_the_guest() {
    let mut facts = dual_stack();
    facts.net_raw = false;
    let mut nic = nic();
    if let Binding::Masquerade { cidr6, .. } = &mut nic.binding {
        *cidr6 = "fd20::/64".parse().unwrap();
    }
    let (plan, notices) = planned(&spec(vec![nic]), &facts);
    assert!(!plan.ipv6.unwrap().advertised);
    let message = &notices[0].message;
    for part in ["CAP_NET_RAW", "`fd20::2/64`", "`fd20::1`", "MTU 1450"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // A pod without IPv6 has nothing to say.
    let mut facts = pod();
    facts.net_raw = false;
    assert_eq!(planned(&spec(vec![super::nic()]), &facts).1, []);
}

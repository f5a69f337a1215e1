//! What was asked is read back from the kernel.

use numa::HostRoot;

use super::error::NetError;
use super::link::Netlink;
use super::plan::{Bridged, NetworkPlan, NicPlan, Wiring};
use super::setup::addresses;
use super::sysctl;

/// Reads back links, addresses and settings. Rules were read back when they were made.
///
/// # Errors
///
/// Everything that is not as planned.
pub async fn verify(plan: &NetworkPlan) -> Result<(), Vec<NetError>> {
    let netlink = Netlink::open().map_err(|error| vec![error])?;
    let mut failures = differences(&netlink, &plan.nics).await;
    failures.extend(settings(plan).err());
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures)
    }
}

fn settings(plan: &NetworkPlan) -> Result<(), NetError> {
    let root = HostRoot::default();
    let mut all = sysctl::forwarding(plan);
    all.extend(sysctl::of_bridges(plan));
    for setting in all.into_iter().filter(|setting| !setting.optional) {
        let found = setting.read(&root)?;
        if found != setting.value {
            return Err(NetError::NotAsPlanned {
                what: setting.key,
                found,
                wanted: setting.value.to_owned(),
            });
        }
    }
    Ok(())
}

/// What is not as planned, one failure an interface: every bridge is there and up with its addresses, its tap is on it, and
/// the pod's NIC where it belongs there.
pub(super) async fn differences<'a>(
    netlink: &Netlink,
    nics: impl IntoIterator<Item = &'a NicPlan>,
) -> Vec<NetError> {
    let mut failures = Vec::new();
    for nic in nics {
        failures.extend(bridge(netlink, nic).await.err());
    }
    failures
}

async fn bridge(netlink: &Netlink, nic: &NicPlan) -> Result<(), NetError> {
    let bridge = netlink.must_find(&nic.bridge.name).await?;
    if nic.is_ours() {
        bridge.must_be_bridge(&nic.bridge, nic.mtu)?;
    }
    let tap = netlink.must_find(&nic.tap.name).await?;
    must_be(
        &tap.name,
        "its bridge's index",
        index(tap.controller),
        index(Some(bridge.index)),
    )?;
    must_be(&tap.name, "its MTU", tap.mtu, nic.mtu)?;
    for link in [&bridge, &tap] {
        must_be(&link.name, "that it is up", link.up, true)?;
    }
    let links = netlink.links().await?;
    let read = links.iter().find(|link| link.index == bridge.index);
    for wanted in addresses(nic) {
        let has = read.is_some_and(|link| match wanted {
            ipnet::IpNet::V4(net) => link.addresses.contains(&net),
            ipnet::IpNet::V6(net) => link.addresses6.contains(&net),
        });
        must_be(&bridge.name, &format!("that it has `{wanted}`"), has, true)?;
    }
    match &nic.wiring {
        Wiring::Bridged(bridged) => port(netlink, nic, bridged, bridge.index).await,
        Wiring::Masquerade(_) => Ok(()),
    }
}

/// The NIC is on the bridge and up, and its stand-in has its addresses.
async fn port(
    netlink: &Netlink,
    nic: &NicPlan,
    bridged: &Bridged,
    bridge: u32,
) -> Result<(), NetError> {
    let port = netlink.must_find(&bridged.nic).await?;
    let (found, wanted) = (index(port.controller), index(Some(bridge)));
    must_be(&port.name, "its bridge's index", found, wanted)?;
    must_be(&port.name, "that it is up", port.up, true)?;
    let dummy = netlink.must_find(&nic.pod_link).await?;
    let mac = dummy
        .mac
        .map_or_else(|| "none".to_owned(), |mac| mac.to_string());
    let wanted = bridged.pod_mac.to_string();
    must_be(&dummy.name, "its MAC address", mac, wanted)
}

/// Of a link, for people.
fn index(of: Option<u32>) -> String {
    of.map_or_else(|| "none".to_owned(), |index| index.to_string())
}

fn must_be<T: PartialEq + ToString>(
    link: &str,
    property: &str,
    found: T,
    wanted: T,
) -> Result<(), NetError> {
    if found == wanted {
        return Ok(());
    }
    Err(NetError::NotAsPlanned {
        what: format!("link {link}: {property}"),
        found: found.to_string(),
        wanted: wanted.to_string(),
    })
}

//! Netlink's answers as values.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::{Ipv4Net, Ipv6Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};

use super::{Netlink, errno};
use crate::host::{Link, Route};
use crate::net::error::NetError;
use crate::net::mac::MacAddr;

/// One link as the kernel describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Hardware address, where it has one of six bytes.
    pub mac: Option<MacAddr>,
    /// Bytes a frame's payload may have.
    pub mtu: u32,
    /// `IFF_UP`.
    pub up: bool,
    /// Index of the bridge it is on.
    pub controller: Option<u32>,
    /// `bridge`, `veth`, `tun`; none for hardware.
    pub kind: Option<InfoKind>,
    /// Of a bridge: whether it keeps VLANs apart.
    pub vlan_filtering: Option<bool>,
}

impl From<&LinkMessage> for Found {
    fn from(message: &LinkMessage) -> Self {
        let mut found = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            controller: None,
            kind: None,
            vlan_filtering: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => found.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    found.mac = bytes.as_slice().try_into().ok().map(MacAddr);
                }
                LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
                LinkAttribute::Controller(index) => found.controller = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    found.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.clone()),
                        _ => None,
                    });
                    found.vlan_filtering = infos.iter().find_map(vlan_filtering);
                }
                _ => {}
            }
        }
        found
    }
}

fn vlan_filtering(info: &LinkInfo) -> Option<bool> {
    let LinkInfo::Data(InfoData::Bridge(settings)) = info else {
        return None;
    };
    settings.iter().find_map(|setting| match setting {
        InfoBridge::VlanFiltering(on) => Some(*on),
        _ => None,
    })
}

impl Netlink {
    /// Every link of this network namespace with its addresses and IPv4 routes, by index.
    ///
    /// # Errors
    ///
    /// [`NetError::Read`].
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let fail = |what| {
            move |error| NetError::Read {
                what,
                source: errno(error),
            }
        };
        let links: Vec<LinkMessage> = Box::pin(self.handle.link().get().execute())
            .try_collect()
            .await
            .map_err(fail("links"))?;
        let addresses: Vec<AddressMessage> = Box::pin(self.handle.address().get().execute())
            .try_collect()
            .await
            .map_err(fail("addresses"))?;
        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> = Box::pin(self.handle.route().get(query).execute())
            .try_collect()
            .await
            .map_err(fail("routes"))?;
        Ok(assemble(&links, &addresses, &routes))
    }
}

fn assemble(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    routes: &[RouteMessage],
) -> Vec<Link> {
    let mut by_index: BTreeMap<u32, Link> = links
        .iter()
        .map(|message| (message.header.index, link(&Found::from(message))))
        .collect();
    for message in addresses {
        if let Some(link) = by_index.get_mut(&message.header.index) {
            add_address(link, message);
        }
    }
    for message in routes {
        for (index, route) in routes_of(message) {
            if let Some(link) = by_index.get_mut(&index) {
                link.routes.push(route);
            }
        }
    }
    by_index.into_values().collect()
}

fn link(found: &Found) -> Link {
    Link {
        index: found.index,
        name: found.name.clone(),
        mac: found.mac,
        mtu: found.mtu,
        up: found.up,
        controller: found.controller,
        addresses: Vec::new(),
        addresses6: Vec::new(),
        routes: Vec::new(),
    }
}

/// On a point-to-point link `IFA_ADDRESS` is the peer and `IFA_LOCAL` is ours; IPv6 has only the former.
fn add_address(link: &mut Link, message: &AddressMessage) {
    let mut address = None;
    let mut local = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            _ => {}
        }
    }
    let prefix = message.header.prefix_len;
    match local.or(address) {
        Some(IpAddr::V4(ip)) => link.addresses.extend(Ipv4Net::new(ip, prefix)),
        Some(IpAddr::V6(ip)) => link.addresses6.extend(Ipv6Net::new(ip, prefix)),
        None => {}
    }
}

/// Unicast routes of the main table, one for each next hop, with the link's index.
fn routes_of(message: &RouteMessage) -> Vec<(u32, Route)> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let mut network = Ipv4Addr::UNSPECIFIED;
    let mut hop = (None, None);
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => network = *ip,
            RouteAttribute::Oif(index) => hop.0 = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => hop.1 = Some(*ip),
            RouteAttribute::MultiPath(paths) => hops.extend(paths.iter().map(|path| {
                let gateway = path
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(*ip),
                        _ => None,
                    });
                (path.interface_index, gateway)
            })),
            _ => {}
        }
    }
    hops.extend(hop.0.map(|index| (index, hop.1)));
    let Ok(destination) = Ipv4Net::new(network, header.destination_prefix_length) else {
        return Vec::new();
    };
    hops.into_iter()
        .map(|(index, gateway)| {
            let route = Route {
                destination,
                gateway,
            };
            (index, route)
        })
        .collect()
}

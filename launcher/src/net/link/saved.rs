//! Addresses and routes of a link, kept as the kernel told them, to be given back to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};

use super::{Netlink, errno, link_error, unless_gone};
use crate::net::error::{Action, NetError};

/// What a link loses when it becomes a bridge's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct Saved {
    addresses: Vec<AddressMessage>,
    routes: Vec<RouteMessage>,
}

impl Netlink {
    /// Addresses but those the kernel makes by itself, and routes of every table but those it makes.
    pub(in crate::net) async fn save(&self, index: u32) -> Result<Saved, NetError> {
        let fail = |what| {
            move |error| NetError::Read {
                what,
                source: errno(error),
            }
        };
        let request = self.handle.address().get().set_link_index_filter(index);
        let addresses: Vec<AddressMessage> = Box::pin(request.execute())
            .try_collect()
            .await
            .map_err(fail("addresses"))?;
        let four = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let six = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut routes = Vec::new();
        for query in [four, six] {
            let all: Vec<RouteMessage> = Box::pin(self.handle.route().get(query).execute())
                .try_collect()
                .await
                .map_err(fail("routes"))?;
            routes.extend(all.into_iter().filter(|route| is_ours(route, index)));
        }
        // A gateway is reachable only once the route to it is there.
        routes.sort_by_key(has_gateway);
        Ok(Saved {
            addresses: addresses
                .into_iter()
                .filter(|one| !is_automatic(one))
                .collect(),
            routes: routes.into_iter().map(as_asked).collect(),
        })
    }

    /// Takes the link's addresses away; its routes go with them.
    pub(in crate::net) async fn strip(&self, link: &str, saved: &Saved) -> Result<(), NetError> {
        for address in &saved.addresses {
            let request = self.handle.address().del(address.clone());
            unless_gone(request.execute().await, Action::RemoveAddress, link)?;
        }
        Ok(())
    }

    /// Gives everything back to the link, which is up again.
    pub(in crate::net) async fn give_back(&self, link: &str, saved: Saved) -> Result<(), NetError> {
        for address in saved.addresses {
            let mut request =
                self.handle
                    .address()
                    .add(address.header.index, Ipv4Addr::UNSPECIFIED.into(), 32);
            *request.message_mut() = address;
            // It was the link's own a moment ago: there is nobody to ask.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            unless_there(request.execute().await, Action::AddAddress, link)?;
        }
        for route in saved.routes {
            let request = self.handle.route().add(route);
            unless_there(request.execute().await, Action::AddRoute, link)?;
        }
        Ok(())
    }
}

/// A link-local IPv6 address comes by itself when the link goes up.
fn is_automatic(message: &AddressMessage) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(attribute, AddressAttribute::Address(IpAddr::V6(ip)) if ip.is_unicast_link_local())
    })
}

/// A route through the link that somebody set: the kernel's own follow its addresses, and those of router
/// advertisements the routers.
fn is_ours(route: &RouteMessage, index: u32) -> bool {
    let through = route.attributes.contains(&RouteAttribute::Oif(index));
    let made = matches!(
        route.header.protocol,
        RouteProtocol::Kernel | RouteProtocol::Ra | RouteProtocol::IcmpRedirect
    );
    through && !made && route.header.kind == RouteType::Unicast
}

fn has_gateway(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_)
        )
    })
}

/// Without what only the kernel says of a route.
fn as_asked(mut route: RouteMessage) -> RouteMessage {
    route.attributes.retain(|attribute| {
        !matches!(
            attribute,
            RouteAttribute::CacheInfo(_) | RouteAttribute::Expires(_)
        )
    });
    route
}

fn unless_there(
    result: Result<(), rtnetlink::Error>,
    action: Action,
    link: &str,
) -> Result<(), NetError> {
    match result.map_err(errno) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result.map_err(|source| link_error(action, link, source)),
    }
}

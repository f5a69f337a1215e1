//! What the guest is told of IPv6, by DHCPv6 and router advertisements.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::host::{HostFacts, Resolver};
use crate::net::mac::MacAddr;
use crate::refusal::Notice;
use crate::spec::nic::Nic;

/// One address and what goes with it (facts 7.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Plan {
    /// Link that is served: the bridge.
    pub link: String,
    /// The bridge's hardware address: the router's, and our server's identifier.
    pub router: MacAddr,
    /// What the guest gets, with its network.
    pub address: Ipv6Net,
    /// To whom the guest sends what is not on its link when it is told by hand; the advertised router is the bridge's
    /// link-local address.
    pub gateway: Ipv6Addr,
    /// IPv6 name servers.
    pub nameservers: Vec<Ipv6Addr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Of the link.
    pub mtu: u32,
    /// Router advertisements are sent; else the guest has to be told its route by hand.
    pub advertised: bool,
}

impl Ipv6Plan {
    /// What to set up in a guest that no router advertises itself to.
    pub fn by_hand(&self) -> String {
        format!(
            "the guest has to be told by other means, such as cloud-init's network data: the address `{}` (DHCPv6 gives it too), the gateway `{}` and MTU {}",
            self.address, self.gateway, self.mtu
        )
    }
}

/// What the guest on `link` is told. Whether its router can advertise itself is seen from the facts.
pub(super) fn plan(
    (link, router): (&str, MacAddr),
    (address, gateway): (Ipv6Net, Ipv6Addr),
    (search, mtu): (Vec<String>, u32),
    nic: &Nic,
    facts: &HostFacts,
    notices: &mut Vec<Notice>,
) -> Ipv6Plan {
    let plan = Ipv6Plan {
        link: link.to_owned(),
        router,
        address,
        gateway,
        nameservers: nameservers(&facts.resolver, nic, notices),
        search,
        mtu,
        advertised: facts.net_raw,
    };
    if !plan.advertised {
        let message = format!(
            "no router advertises itself without CAP_NET_RAW: {}",
            plan.by_hand()
        );
        notices.push(Notice::new(&nic.path, message));
    }
    plan
}

/// Not the pod's own loopback or link.
pub(super) fn is_reachable(server: &&Ipv6Addr) -> bool {
    !server.is_loopback() && !server.is_unicast_link_local()
}

/// Those that the guest can reach from its own link.
fn nameservers(resolver: &Resolver, nic: &Nic, notices: &mut Vec<Notice>) -> Vec<Ipv6Addr> {
    let (servers, own): (Vec<Ipv6Addr>, Vec<Ipv6Addr>) =
        resolver.nameservers6.iter().partition(is_reachable);
    if let Some(server) = own.first() {
        let message =
            format!("name server `{server}` is of the pod's own link: the guest is not told of it");
        notices.push(Notice::new(&nic.path, message));
    }
    servers
}

//! What the guest is told of IPv6, by DHCPv6 and router advertisements.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::net::mac::MacAddr;

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
            "set in the guest the address `{}`, a default route by `{}` and MTU {}",
            self.address, self.gateway, self.mtu
        )
    }
}

//! Where metrics are served by TCP: an address that is the pod's alone, and that the guest's connections do not go to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::net::plan::{NicPlan, Wiring};
use crate::plan::LaunchPlan;
use crate::refusal::{Refusal, Violation};
use crate::spec::nic::Protocol;

const OPTION: &str = "--metrics-address";

impl LaunchPlan {
    /// With metrics at `address`, if that can be.
    pub fn with_metrics(mut self, address: Option<SocketAddr>) -> Result<Self, Refusal> {
        let Some(address) = address else {
            return Ok(self);
        };
        let violations = violations(address, &self.network.nics);
        if !violations.is_empty() {
            return Err(Refusal::new(violations).noticing(self.notices));
        }
        self.lifecycle.metrics = Some(address);
        Ok(self)
    }
}

fn violations(address: SocketAddr, nics: &[NicPlan]) -> Vec<Violation> {
    let mut violations = Vec::new();
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        violations.push(Violation::new(
            OPTION,
            format!(
                "`{}` is every address, the guest's side among them",
                address.ip()
            ),
            "give the pod's own address, or one of loopback",
        ));
    }
    if address.port() == 0 {
        violations.push(Violation::new(
            OPTION,
            "nobody would know port `0`",
            "give a port",
        ));
    }
    for nic in nics {
        if takes(nic, address) {
            violations.push(Violation::new(
                OPTION,
                format!(
                    "port `{}` of `{}` leads to the guest, by interface `{}`",
                    address.port(),
                    address.ip(),
                    nic.name
                ),
                "list the interface's `ports` without it, or give another address of loopback, such as `127.0.0.2`",
            ));
        }
    }
    violations
}

/// Whether the masquerade's rules send connections to `address` on to the guest (facts 7.3).
fn takes(nic: &NicPlan, address: SocketAddr) -> bool {
    let Wiring::Masquerade(masquerade) = &nic.wiring else {
        return false;
    };
    let forwarded = match address.ip() {
        // Of loopback the rules name this one alone.
        IpAddr::V4(ip) if ip.is_loopback() => ip == Ipv4Addr::LOCALHOST,
        IpAddr::V6(ip) if ip.is_loopback() => false,
        IpAddr::V4(_) => masquerade.guest.is_some(),
        IpAddr::V6(_) => masquerade.guest6.is_some(),
    };
    let listed = |port: &crate::spec::nic::Port| {
        port.protocol == Protocol::Tcp && (port.port..=port.last).contains(&address.port())
    };
    forwarded && (masquerade.ports.is_empty() || masquerade.ports.iter().any(listed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use crate::spec::nic::NicModel;

    #[test]
    fn what_the_guest_takes_is_refused() {
        let mut spec = fixtures::spec();
        spec.nics = vec![fixtures::nic(0, "default", NicModel::Virtio)];
        let plan = fixtures::network(&spec);
        let refused = |address: &str| !violations(address.parse().unwrap(), &plan.nics).is_empty();
        assert!(refused("0.0.0.0:9100"));
        assert!(refused("[::]:9100"));
        assert!(refused("127.0.0.2:0"));
        assert!(refused("127.0.0.1:9100"), "the guest has all ports");
        assert!(refused("10.1.2.3:9100"));
        assert!(!refused("127.0.0.2:9100"));
        assert!(!refused("[::1]:9100"));
    }
}

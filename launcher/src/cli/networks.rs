//! `--network`: which bridge is behind which of the VMI's networks.

use crate::net::wire::HostBridge;
use crate::spec::Spec;
use crate::spec::nic::Network;

/// An option that names nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkOptionError {
    /// Not a network that a local run makes.
    #[error(
        "--network {name}: the VMI has no interface on a `multus` network of that name; it has {has}"
    )]
    Unknown {
        /// As typed.
        name: String,
        /// What there is.
        has: String,
    },
    /// One network, two bridges.
    #[error("--network {name}: it is there twice")]
    Twice {
        /// As typed.
        name: String,
    },
    /// In a pod the networks are there already.
    #[error("--network is for local runs: in a pod Multus makes the networks")]
    InPod,
}

/// Every network of Multus' that has an interface, with what was typed for it.
pub(super) fn behind(
    spec: &Spec,
    typed: &[(String, HostBridge)],
) -> Result<Vec<(String, Option<HostBridge>)>, NetworkOptionError> {
    let names: Vec<&str> = spec
        .nics
        .iter()
        .filter(|nic| matches!(nic.network, Network::Secondary { .. }))
        .map(|nic| nic.name.as_str())
        .collect();
    for (index, (name, _)) in typed.iter().enumerate() {
        if !names.contains(&name.as_str()) {
            return Err(NetworkOptionError::Unknown {
                name: name.clone(),
                has: if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                },
            });
        }
        if typed[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(NetworkOptionError::Twice { name: name.clone() });
        }
    }
    let bridge = |name: &str| {
        let mut typed = typed.iter();
        typed
            .find(|(given, _)| given == name)
            .map(|(_, bridge)| bridge.clone())
    };
    Ok(names
        .into_iter()
        .map(|name| (name.to_owned(), bridge(name)))
        .collect())
}

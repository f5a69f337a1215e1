//! NAT between the pod's address and the guest's, in tables of our own: `ip virt_launcher`, `ip6 virt_launcher`.
//!
//! `rules` is pure: a [`NetworkPlan`](super::plan::NetworkPlan) becomes the values that `nft` takes as JSON. `run`
//! carries them out through the `nft` binary, all of it in one transaction.

mod ports;
mod rules;
mod run;
#[cfg(test)]
mod tests;

pub use rules::{Family, TABLE, table, transaction};
pub use run::list;
pub(super) use run::{apply, delete};

//! The pod's NIC becomes the guest's: planned as values, carried out by `link`, `tap`, `nft`; what the guest is told, by
//! `dhcp`, `dhcp6` and `ra`.

pub mod address;
mod bridged;
pub mod dhcp;
pub mod dhcp6;
pub mod domain;
pub mod error;
pub mod link;
pub mod mac;
pub mod nft;
pub mod plan;
pub mod ra;
pub mod service;
pub mod setup;
pub mod sysctl;
pub mod tap;
mod undo;
mod verify;
pub mod veth;
pub mod watch;
pub mod wire;

//! What the servers for the guest share: a socket that is bound to one link, datagrams read no faster than a guest may
//! cost us, and log lines that a guest cannot make many of.

pub mod budget;
mod datagrams;
mod error;
mod intake;
mod report;
mod socket;

pub(in crate::net) use datagrams::{Datagrams, Protocol, serve};
pub use error::{Service, ServiceError};
pub(in crate::net) use intake::{Intake, Source};
pub(in crate::net) use report::{Names, Report};
pub(in crate::net) use socket::{Opening, is_on};

//! Router advertisements to one guest on one link (RFC 4861, RFC 8106).
//!
//! `solicitation` reads what a hostile guest sent, `advertisement` lays out the answer, `schedule` says when it goes out
//! unasked: all pure. `server` owns the socket.
//!
//! There is no goodbye (router lifetime 0, RFC 4861 6.2.5): our end is the guest's end, or another supervisor takes the
//! link up; a guest that migrates finds the same router in its new pod.

pub mod advertisement;
pub mod schedule;
mod server;
mod socket;
pub mod solicitation;

#[cfg(test)]
mod tests;

pub use advertisement::advertisement;
pub use server::Server;
pub use solicitation::Solicitation;

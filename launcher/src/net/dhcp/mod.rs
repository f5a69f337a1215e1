//! A DHCPv4 server for one client on one link.
//!
//! `request` reads what a hostile guest sent, `answer` decides, `options` lays out the lease, `reply` puts it on
//! the wire: all pure. `server` owns the socket.
//!
//! The client FQDN option (RFC 4702) is read over: a server that makes no DNS updates need not answer it, and the
//! guest's name comes in option 12.

pub mod answer;
pub mod options;
pub mod reply;
pub mod request;
pub mod server;

#[cfg(test)]
mod tests;

pub use answer::answer;
pub use reply::Reply;
pub use request::Request;
pub use server::Server;

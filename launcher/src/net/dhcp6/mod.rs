//! A DHCPv6 server for one client on one link.
//!
//! `request` reads what a hostile guest sent, `answer` decides, `options` lays out what is told, `reply` puts it on the
//! wire: all pure. `server` owns the socket.
//!
//! DHCPv6 gives an address and name servers, but neither prefix nor router: those come by `ra`, which also tells the
//! guest to ask here.

pub mod answer;
mod options;
pub mod reply;
pub mod request;
pub mod server;

#[cfg(test)]
mod tests;

pub use answer::answer;
pub use reply::Reply;
pub use request::Request;
pub use server::Server;

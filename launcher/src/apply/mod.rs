//! A plan is carried out.
//!
//! ```text
//!  storage::prepare ┐
//!  open taps        ├─► files ─► PID 1 starts QEMU ─┬─► memory filled ─► monitor's greeting ┐
//!  bind sockets     ┘                               └─► bridge, addresses, nft, DHCP port ──┴─► threads placed
//!                                                       ─► privileges fall ─► everything read back ─► cont
//! ```
//!
//! Before QEMU's exec stands only what its argv needs; the network is built beside QEMU's own start. Each step has
//! its undo, and a failure undoes all that was done before it is reported.

pub mod devices;
pub mod error;
pub mod files;
pub mod fill;
pub mod finish;
pub mod launch;
pub mod pinned;
pub mod progress;
pub mod records;
pub mod serve;
pub mod threads;
mod told;

//! PID 1: starts the supervisor and QEMU, forwards signals, reaps every orphan, knows each exit status first.
//!
//! One thread, one poll loop, no runtime. Signals are blocked and read from a signalfd. The supervisor asks
//! over a socketpair (`protocol`) for QEMU to be started (`spawn`); QEMU is therefore a child of PID 1, where
//! virt-handler looks for it, and outlives its supervisor: a dead one is followed by the next (`restart`), which is
//! given what PID 1 kept for it (`vault`). When PID 1 goes, the pod's PID namespace goes with it.
//!
//! ```text
//!  TERM, INT, QUIT ──► signalfd ──┬─► Signal ──► supervisor ──► Spawn, Keep ──► QEMU, vault
//!                                 └─► the guest's time and some more ──► TERM, KILL to QEMU
//!  CHLD ──► reap ──┬─ QEMU: Exited{status} ──► supervisor ──► Done{code} ──► the pod ends
//!                  └─ supervisor, not done: the next one, Hello{QEMU, kept files}
//! ```
//!
//! An upgrade in place (`pid1/swap.rs`) has a new program take over both halves; PID 1 becomes it by exec (`handover`).

pub mod channel;
pub mod guest;
pub mod handover;
pub mod inherited;
pub mod pid1;
pub mod pidfd;
pub mod protocol;
pub mod restart;
pub mod spawn;
pub mod supervisor;
pub mod vault;

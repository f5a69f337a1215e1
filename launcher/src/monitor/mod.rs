//! PID 1: starts the supervisor and QEMU, forwards signals, reaps every orphan, knows each exit status first.
//!
//! One thread, one poll loop, no runtime. Signals are blocked and read from a signalfd. The supervisor asks
//! over a socketpair (`protocol`) for QEMU to be started (`spawn`); QEMU is therefore a child of PID 1, where
//! virt-handler looks for it, and outlives nobody: when PID 1 goes, the pod's PID namespace goes with it.
//!
//! ```text
//!  TERM, INT, QUIT ──► signalfd ──► Signal ──► supervisor ──► Spawn ──► QEMU
//!  CHLD ──► reap ──┬─ QEMU: Exited{status} ──► supervisor
//!                  └─ supervisor: end QEMU if it still runs, exit with the supervisor's code
//! ```

pub mod channel;
pub mod pid1;
pub mod pidfd;
pub mod protocol;
pub mod spawn;

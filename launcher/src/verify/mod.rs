//! Whether a running VM is where its placement says: every thread of QEMU's and the guest's memory, as the kernel has them;
//! and whether its processes are confined as they should be.
//!
//! ```text
//!  plan.json ─► Placement ─┐
//!  QMP ─► thread ids ──────┼─► wanted ┐
//!  /proc/PID/task, numa_maps ─────────┴─► Report ─► table, JSON, exit code
//! ```
//!
//! [`threads`] and [`memory`] compare values; [`observe()`] reads. The same report decides before `cont` whether the
//! guest may start.

pub mod confinement;
pub mod interrupts;
pub mod memory;
pub mod observe;
pub mod report;
pub mod run;
pub mod strangers;
pub mod threads;
pub mod throttle;

pub use observe::{Identity, VerifyError, observe};
pub use report::Report;
pub use threads::{Role, ThreadCheck};

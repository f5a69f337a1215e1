//! A local run: a pod that we make ourselves, so that the same two processes run everywhere.
//!
//! ```text
//!  outer (this room; keeps privileges, cleans up)
//!    ├─ run_dir   /run/virt-launcher/<id>, locked while the run lives
//!    ├─ clone     new PID, mount, network, UTS and IPC namespaces ─► pod_init ─exec─► `run` as PID 1
//!    ├─ net::veth one end into the pod
//!    └─ console   the guest's serial console on this terminal, or copied to stdout
//! ```
//!
//! When the outer process dies, PID 1 is killed (PDEATHSIG), and with it every process, link, tap and table of the
//! pod. What remains is a directory whose lock nobody holds: the next run removes it.

pub mod aside;
pub mod clone;
pub mod console;
pub mod mounts;
pub mod networks;
pub mod outer;
pub mod pod_init;
pub mod pools;
pub mod run_dir;
mod signals;
mod turn;

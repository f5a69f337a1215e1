//! Whole runs: `virt-launcher run`, from a VMI to an exit code, and what is left behind it. Every guest is the demo guest,
//! emulated; each case has network and mounts of its own.

#[path = "run/console.rs"]
mod console;
#[path = "run/devices.rs"]
mod devices;
#[path = "run/disks.rs"]
mod disks;
#[path = "run/ends.rs"]
mod ends;
#[path = "run/in_pod.rs"]
mod in_pod;
#[path = "run/killed.rs"]
mod killed;
#[path = "run/metrics.rs"]
mod metrics;
#[path = "run/network.rs"]
mod network;
#[path = "run/not_started.rs"]
mod not_started;
#[path = "run/signals.rs"]
mod signals;
#[path = "run/told.rs"]
mod told;

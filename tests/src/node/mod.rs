//! A whole node under emulation: two NUMA nodes, an IOMMU, an SR-IOV NIC, KVM, cgroup v2. Cases run inside it, all that
//! share a [`Shape`] in one boot.
//!
//! [`shape`] and [`machine`] are the machine's side, [`suite`] both sides' list of cases; the rest is for cases, which
//! run in the node as root: [`pod`] starts the product as a pod would, [`nic`] handles VFs and the wire, [`kernel`] reads
//! what the kernel did.

pub mod inside;
pub mod kernel;
pub mod machine;
pub mod nic;
pub mod outside;
pub mod pod;
pub mod shape;
pub mod suite;

use std::sync::LazyLock;
use std::time::Instant;

pub use shape::Shape;

use anyhow::Result;

/// One case: what it is called, the node it needs, what runs in it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Also the name of its log.
    pub name: &'static str,
    /// The node it needs.
    pub shape: &'static Shape,
    /// Runs in the node, as root, in a process of its own. What it leaves running is killed.
    pub run: fn() -> Result<()>,
}

#[expect(clippy::print_stderr, reason = "a test runner's output")]
fn say(text: &str) {
    eprintln!("node: {text}");
}

/// A line in the running case's log, with the seconds since its first; the log is shown when it fails.
#[expect(clippy::print_stdout, reason = "the log is the case's stdout")]
pub fn log(text: &str) {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    println!("{:6.1} {text}", STARTED.elapsed().as_secs_f64());
}

//! What the cases in `tests/cases` stand on: the built program, what a test needs of the machine, namespaces of
//! its own, processes that end with it, the demo guest, and whole runs with what they leave behind.
//!
//! A test that lacks a need fails and names it; none is skipped.

pub mod binary;
pub mod cgroup;
pub mod counting;
pub mod ctl;
pub mod dhcp_client;
pub mod flood;
pub mod guest;
pub mod hosts;
pub mod namespace;
pub mod need;
pub mod node;
pub mod pod;
pub mod pools;
pub mod process;
pub mod proof;
pub mod run;
pub mod world;

use camino::{Utf8Path, Utf8PathBuf};

/// The top of the project.
pub fn project() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies in the project")
        .to_owned()
}

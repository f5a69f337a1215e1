//! [`LaunchPlan`]: everything that a run will do, as data. Printed by `plan`, kept as the journal.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::net::plan::NetworkPlan;
use crate::placement::Placement;
use crate::pod::PodPaths;
use crate::refusal::Notice;
use crate::spec::RebootPolicy;
use crate::storage::plan::StoragePlan;

/// Everything that will be done for one VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// Of this type's shape: a newer program reads older plans.
    pub version: u32,
    /// `<namespace>_<name>`.
    pub domain: String,
    /// `metadata.uid`.
    pub uid: Uuid,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Open files that `argv` refers to by number.
    pub fds: Vec<PlannedFd>,
    /// Who runs where.
    pub placement: Placement,
    /// Links, addresses, rules and leases.
    pub network: NetworkPlan,
    /// Images to make and to open.
    pub storage: StoragePlan,
    /// Where sockets and logs are.
    pub paths: PodPaths,
    /// Start and stop.
    pub lifecycle: LifecyclePlan,
    /// What the reader should know.
    pub notices: Vec<Notice>,
}

/// One fd that QEMU inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFd {
    /// Its number in QEMU, as `argv` has it.
    pub number: i32,
    /// What it is.
    pub open: Open,
}

/// What an inherited fd refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "open", rename_all = "kebab-case")]
pub enum Open {
    /// A listening unix stream socket, bound by us.
    Listener {
        /// Where it is bound.
        path: Utf8PathBuf,
    },
    /// A regular file opened for appending.
    Log {
        /// The file.
        path: Utf8PathBuf,
    },
    /// One queue of a tap.
    Tap {
        /// The tap's name.
        tap: String,
        /// From 0.
        queue: u16,
    },
    /// `/dev/vhost-net`.
    VhostNet {
        /// The tap it serves.
        tap: String,
        /// From 0.
        queue: u16,
    },
}

/// Start and stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecyclePlan {
    /// How long a guest has to power off, in seconds.
    pub grace_period_seconds: u64,
    /// QEMU is left in `prelaunch` until somebody resumes it.
    pub start_paused: bool,
    /// What a guest's reset means.
    pub reboot_policy: RebootPolicy,
    /// Whether the guest has ACPI, without which a power button does nothing.
    pub acpi: bool,
    /// `-cpu host,migratable=on` stands for `host-model`: the expansion is recorded after start.
    pub host_model: bool,
    /// The guest has a console at `virt-serial0`.
    pub serial_console: bool,
}

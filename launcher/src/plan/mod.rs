//! [`LaunchPlan`]: everything that a run will do, as data. Printed by `plan`, kept as the journal.

mod compose;
mod fds;
#[cfg(test)]
pub(crate) mod fixtures;
mod metrics;
mod text;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::machine::board::Accel;
pub use crate::machine::step::QmpStep;
use crate::net::plan::NetworkPlan;
use crate::passthrough::plan::PassthroughPlan;
use crate::placement::Placement;
use crate::pod::PodPaths;
use crate::refusal::Notice;
use crate::spec::RebootPolicy;
use crate::storage::plan::StoragePlan;

pub use text::text;

/// The shape that this program writes.
pub const VERSION: u32 = 1;

/// Everything that will be done for one VM. The first five keys are the documented output of `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Who runs where.
    pub placement: Placement,
    /// Links, addresses, rules and leases.
    pub network: NetworkPlan,
    /// Images to make and to open.
    pub storage: StoragePlan,
    /// Devices of the host that the guest gets.
    #[serde(default)]
    pub passthrough: PassthroughPlan,
    /// What the reader should know.
    pub notices: Vec<Notice>,
    /// Of this type's shape: a newer program reads older plans.
    pub version: u32,
    /// `<namespace>_<name>`.
    pub domain: String,
    /// `metadata.uid`.
    pub uid: Uuid,
    /// Who runs the guest's instructions.
    pub accel: Accel,
    /// Open files that `argv` refers to by number, and QEMU's standard error.
    pub fds: Vec<PlannedFd>,
    /// What QEMU's environment has besides the spawner's own.
    pub environment: BTreeMap<String, String>,
    /// QMP commands to run between QEMU's start and `cont`, in order.
    pub before_cont: Vec<QmpStep>,
    /// Where sockets and logs are.
    pub paths: PodPaths,
    /// Start and stop.
    pub lifecycle: LifecyclePlan,
}

/// What a plan depends on besides the VMI and the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Who runs the guest's instructions.
    pub accel: Accel,
    /// The program.
    pub qemu: Utf8PathBuf,
    /// KubeVirt's directories.
    pub paths: PodPaths,
    /// Where `kernelBoot` files are, if not where KubeVirt mounts them.
    pub kernel_boot_dir: Option<Utf8PathBuf>,
    /// `--disk NAME=PATH`: local images of container disks.
    pub disk_paths: BTreeMap<String, Utf8PathBuf>,
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
    /// A regular file opened for appending, and for writing alone: QEMU compares the access mode.
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
    /// `/dev/iommu`.
    Iommufd,
    /// A device of the host.
    VfioDevice {
        /// Its name below `/dev/vfio/devices`.
        cdev: String,
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
    /// Where metrics are served by TCP, beside their socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
}

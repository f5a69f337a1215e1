//! Why a launch failed, and whose turn it is.

use std::io;

use super::devices::DeviceError;
use super::files::FilesError;
use super::fill::FillError;
use super::records::RecordError;
use super::threads::PlaceError;
use crate::net::error::NetError;
use crate::net::service::ServiceError;
use crate::privileges::PrivilegeError;
use crate::storage::PrepareError;
use crate::supervise::channel::Pid1Error;
use crate::supervise::outcome::ExitCode;
use crate::supervise::state_dir::StateError;

/// A launch that failed. What was done is undone.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Images.
    #[error("cannot prepare the VM's disks")]
    Storage(#[source] PrepareError),
    /// The plan is kept before anything is done.
    #[error("cannot keep the VM's state")]
    State(#[from] StateError),
    /// Files for QEMU.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Devices of the host.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Links, addresses, rules.
    #[error("cannot build the VM's network")]
    Network(#[source] NetError),
    /// The kernel has another network than was planned.
    #[error("the VM's network is not as it was made: {}", .0.iter().map(|one| crate::causes::chain(one)).collect::<Vec<_>>().join("; "))]
    NotAsPlanned(Vec<NetError>),
    /// DHCP and its like.
    #[error("cannot tell the guest its addresses")]
    Serve(#[source] ServiceError),
    /// The channel to PID 1.
    #[error("cannot ask PID 1 to start QEMU")]
    Pid1(#[from] Pid1Error),
    /// PID 1's answer.
    #[error("QEMU was not started: {reason}")]
    NotSpawned {
        /// In PID 1's words.
        reason: String,
    },
    /// QEMU ran and its monitor did not answer.
    #[error("QEMU's monitor does not answer")]
    Monitor(#[source] qmp::ConnectError),
    /// A QEMU of another time.
    #[error(
        "QEMU {version} is older than {least}, the oldest that this program knows; install a newer one, or name it by `--qemu PATH`"
    )]
    TooOld {
        /// What it said in its greeting.
        version: qmp::Version,
        /// Major version.
        least: u64,
    },
    /// A command failed.
    #[error("QEMU refuses `{command}`")]
    Command {
        /// QMP's name for it.
        command: String,
        /// Why.
        #[source]
        source: qmp::ExecuteError,
    },
    /// Capabilities.
    #[error("privileges did not fall")]
    Privileges(#[from] PrivilegeError),
    /// The plan's file.
    #[error("the VM's plan cannot be kept")]
    Record(#[from] RecordError),
    /// Huge pages.
    #[error("the guest's memory cannot be had")]
    Fill(#[from] FillError),
    /// Threads or pages.
    #[error("the VM is not where its placement says")]
    Placement(#[from] PlaceError),
    /// A thread.
    #[error("cannot start a thread for the VM's disks")]
    Thread(#[source] io::Error),
}

impl LaunchError {
    /// Who has to do something about it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Storage(_) | Self::Device(_) | Self::Fill(_) | Self::Placement(_) => {
                ExitCode::Refused
            }
            Self::Files(_) | Self::Network(_) | Self::NotAsPlanned(_) | Self::Serve(_) => {
                ExitCode::HostUnfit
            }
            Self::NotSpawned { .. }
            | Self::Monitor(_)
            | Self::TooOld { .. }
            | Self::Command { .. } => ExitCode::QemuFailed,
            Self::Pid1(_)
            | Self::Privileges(_)
            | Self::State(_)
            | Self::Record(_)
            | Self::Thread(_) => ExitCode::Bug,
        }
    }

    /// Whether this is how the launch noticed that QEMU had ended: then QEMU's own last words say more.
    pub fn is_echo_of_exit(&self) -> bool {
        matches!(self, Self::Monitor(_) | Self::Command { .. })
    }
}

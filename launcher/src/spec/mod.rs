//! What is valid: a [`Spec`] exists only as the result of validation, so later code need not check.
//!
//! It is deliberately not `Serialize`: the wire stays still while this changes.

pub mod cpu;
pub mod device;
pub mod disk;
pub mod firmware;
pub mod host_device;
pub mod iothread;
pub mod memory;
pub mod nic;
pub mod placing;

mod validate;

use std::time::Duration;

/// A VMI that has been checked, with KubeVirt's defaults filled in (facts 4.0).
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Who this VM is.
    pub identity: Identity,
    /// vCPUs, model and features.
    pub cpu: cpu::Cpu,
    /// Guest RAM.
    pub memory: memory::Memory,
    /// Machine type, firmware, SMBIOS, clock, boot.
    pub firmware: firmware::Firmware,
    /// What placement was told.
    pub placement: placing::Placing,
    /// I/O threads.
    pub iothreads: iothread::Iothreads,
    /// Disks with the volumes behind them, in the VMI's order.
    pub disks: Vec<disk::Disk>,
    /// Interfaces with the networks behind them, in the VMI's order; those that are VFs are among `host_devices`.
    pub nics: Vec<nic::Nic>,
    /// Devices of the host: interfaces with `sriov`, `gpus`, `hostDevices`.
    pub host_devices: Vec<host_device::HostDevice>,
    /// Everything else on the buses.
    pub devices: device::Devices,
    /// Start, stop and reboot.
    pub lifecycle: Lifecycle,
}

/// Names by which the cluster and its tools know the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.namespace`, `default` when absent.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; derived from namespace and name when absent (a plain file has none).
    pub uid: uuid::Uuid,
    /// `spec.hostname`, else `metadata.name` cut to a DNS label: the guest's host name.
    pub hostname: String,
    /// `spec.subdomain`.
    pub subdomain: Option<String>,
}

impl Identity {
    /// `<namespace>_<name>`: QEMU's guest name, on which everything on the host keys (facts 2.5).
    pub fn domain_name(&self) -> String {
        format!("{}_{}", self.namespace, self.name)
    }
}

/// How the VM starts and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// `spec.terminationGracePeriodSeconds`, 30 s when absent.
    pub grace_period: Duration,
    /// `spec.startStrategy: Paused`.
    pub start_paused: bool,
    /// `spec.domain.rebootPolicy`.
    pub reboot_policy: RebootPolicy,
}

/// What a guest's reset means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum RebootPolicy {
    /// The guest starts again.
    #[default]
    Reboot,
    /// The VM ends.
    Terminate,
}

//! Commands that QEMU 10 has and `qapi` 0.15 (QEMU 9.1's schema) has not.

use qapi::{Command, Empty};
use serde::Serialize;

/// Activates or inactivates block nodes (QEMU 10.0).
#[derive(Debug, Clone, Serialize)]
pub struct BlockdevSetActive {
    /// The node; all of them if `None`.
    #[serde(rename = "node-name", skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Whether it shall be active.
    pub active: bool,
}

impl Command for BlockdevSetActive {
    type Ok = Empty;
    const NAME: &'static str = "blockdev-set-active";
    const ALLOW_OOB: bool = false;
}

/// Tells a device that its backend's configuration changed, as a resized vhost-user disk (QEMU 9.2).
#[derive(Debug, Clone, Serialize)]
pub struct DeviceSyncConfig {
    /// Id or QOM path of the device.
    pub id: String,
}

impl Command for DeviceSyncConfig {
    type Ok = Empty;
    const NAME: &'static str = "device-sync-config";
    const ALLOW_OOB: bool = false;
}

//! Names under which PID 1 keeps a supervisor's files.

/// The VM's private directory, locked.
pub const STATE: &str = "state";
/// The listening control socket.
pub const CONTROL: &str = "control";

/// The listening metrics socket.
pub const METRICS: &str = "metrics";

/// The DHCP socket of a link.
pub fn dhcp(link: &str) -> String {
    format!("dhcp:{link}")
}

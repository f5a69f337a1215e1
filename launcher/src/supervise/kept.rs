//! Names under which PID 1 keeps a supervisor's files.

/// The VM's private directory, locked.
pub const STATE: &str = "state";
/// The listening control socket.
pub const CONTROL: &str = "control";
/// The listening metrics socket.
pub const METRICS: &str = "metrics";

/// The listening metrics socket of TCP.
pub const METRICS_TCP: &str = "metrics-tcp";

/// On which the kernel tells of links and addresses.
pub const LINKS: &str = "monitor:links";
/// On which the kernel tells of NAT rules.
pub const RULES: &str = "monitor:rules";

/// The DHCP socket of a link.
pub fn dhcp(link: &str) -> String {
    format!("dhcp:{link}")
}

/// The DHCPv6 socket of a link.
pub fn dhcp6(link: &str) -> String {
    format!("dhcp6:{link}")
}

/// The socket of a link's router advertisements.
pub fn ra(link: &str) -> String {
    format!("ra:{link}")
}

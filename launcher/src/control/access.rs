//! Which commands only look.

/// What a client may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Commands that only look.
    ReadOnly,
    /// Every command.
    Write,
}

/// Whether a command only looks, by its name: QEMU's own naming, so that a newer QEMU's queries are known
/// too. `human-monitor-command` is not: its text can do anything.
pub fn is_read_only(command: &str) -> bool {
    command.starts_with("query-")
        || command.starts_with("x-query-")
        || command.starts_with("qom-list")
        || matches!(
            command,
            "qom-get"
                | "device-list-properties"
                | "x-debug-query-block-graph"
                | "x-virt-launcher-confinement"
                | "x-virt-launcher-status"
        )
}

impl Access {
    /// Whether `command` may run.
    pub fn allows(self, command: &str) -> bool {
        self == Self::Write || is_read_only(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_look_and_the_rest_does_not() {
        for command in [
            "query-status",
            "query-new-in-12",
            "qom-get",
            "qom-list",
            "qom-list-types",
            "x-query-numa",
        ] {
            assert!(Access::ReadOnly.allows(command), "{command}");
        }
        for command in [
            "quit",
            "human-monitor-command",
            "qom-set",
            "screendump",
            "ringbuf-read",
            "",
            "QUERY-x",
        ] {
            assert!(!Access::ReadOnly.allows(command), "{command}");
            assert!(Access::Write.allows(command), "{command}");
        }
    }
}

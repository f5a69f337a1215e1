//! Events: known by name where we act on them, kept as they came in any case.

use qapi::qmp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One event, as QEMU sent it and as we understand it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// QEMU's name for it, as `SHUTDOWN`.
    pub name: String,
    /// Its data; null where it has none.
    pub data: Value,
    /// Host wall clock at the event, seconds since 1970; -1 if QEMU could not tell.
    pub seconds: i64,
    /// And the microseconds.
    pub microseconds: i64,
    /// What it means to us; `None` for an event, or a shape of one, that we do not know.
    #[serde(skip)]
    pub known: Option<Known>,
}

/// A value of one of QEMU's enums, or one that a newer QEMU added.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OrOther<T> {
    /// A value we know.
    Known(T),
    /// One we do not.
    Other(String),
}

impl<T: PartialEq> PartialEq<T> for OrOther<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(known) if known == other)
    }
}

/// Why the guest stopped or was reset.
type Cause = OrOther<qmp::ShutdownCause>;

/// The events that we act on.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// The guest, or somebody for it, ended the machine.
    Shutdown {
        /// The guest itself asked.
        guest: bool,
        /// What led to it.
        reason: Cause,
    },
    /// The machine was reset.
    Reset {
        /// The guest itself asked.
        guest: bool,
        /// What led to it.
        reason: Cause,
    },
    /// The ACPI power button was pressed.
    Powerdown,
    /// The vCPUs stopped.
    Stop,
    /// The vCPUs run.
    Resume,
    /// The guest sleeps (S3).
    Suspend,
    /// The guest is awake again.
    Wakeup,
    /// The watchdog expired.
    Watchdog {
        /// What QEMU did about it.
        action: OrOther<qmp::WatchdogAction>,
    },
    /// The guest's kernel panicked.
    GuestPanicked {
        /// What QEMU did about it.
        action: OrOther<qmp::GuestPanicAction>,
        /// What the guest told, as it came: `type` and that type's fields.
        info: Value,
    },
    /// The guest's kernel panicked and started its crash kernel.
    GuestCrashloaded {
        /// What QEMU did about it.
        action: OrOther<qmp::GuestPanicAction>,
        /// What the guest told.
        info: Value,
    },
    /// A disk failed.
    BlockIoError {
        /// Device or block backend; may be empty.
        device: String,
        /// Node of the block graph.
        node_name: Option<String>,
        /// Reading or writing.
        operation: OrOther<qmp::IoOperationType>,
        /// What QEMU did about it.
        action: OrOther<qmp::BlockErrorAction>,
        /// No space was left.
        nospace: bool,
        /// The host's errno in words.
        reason: String,
    },
    /// A device is gone for good.
    DeviceDeleted {
        /// Its id, if it had one.
        device: Option<String>,
        /// Its QOM path.
        path: String,
    },
    /// The guest refused to let a device go.
    DeviceUnplugGuestError {
        /// Its id, if it had one.
        device: Option<String>,
        /// Its QOM path.
        path: String,
    },
    /// A program in the guest opened or closed a virtio-serial port (the guest agent's, for one).
    VserportChange {
        /// The port's id.
        id: String,
        /// Open now.
        open: bool,
    },
    /// A migration changed state.
    Migration {
        /// The new state.
        status: OrOther<qmp::MigrationStatus>,
    },
    /// The balloon reached a new size.
    BalloonChange {
        /// What the guest has now, in bytes.
        actual: u64,
    },
    /// A job changed state.
    JobStatusChange {
        /// The job.
        id: String,
        /// Its new state.
        status: OrOther<qmp::JobStatus>,
    },
}

/// Events that tell what became of the guest: the supervisor must never miss one.
pub fn is_critical(name: &str) -> bool {
    matches!(
        name,
        "SHUTDOWN" | "RESET" | "GUEST_PANICKED" | "STOP" | "RESUME" | "BLOCK_IO_ERROR"
    )
}

impl Event {
    pub(crate) fn from_object(mut object: Map<String, Value>) -> Option<Self> {
        let Some(Value::String(name)) = object.remove("event") else {
            return None;
        };
        let data = object.remove("data").unwrap_or(Value::Null);
        let stamp = object.remove("timestamp").unwrap_or(Value::Null);
        let clock = |field: &str| stamp[field].as_i64().unwrap_or(-1);
        Some(Self {
            seconds: clock("seconds"),
            microseconds: clock("microseconds"),
            known: Known::read(&name, &data),
            name,
            data,
        })
    }

    /// The object as QMP sends it.
    pub fn to_json(&self) -> Value {
        let mut object = serde_json::json!({
            "event": self.name,
            "timestamp": { "seconds": self.seconds, "microseconds": self.microseconds },
        });
        if !self.data.is_null() {
            object["data"] = self.data.clone();
        }
        object
    }
}

impl Known {
    fn read(name: &str, data: &Value) -> Option<Self> {
        Some(match name {
            "SHUTDOWN" => Self::Shutdown {
                guest: flag(data, "guest")?,
                reason: field(data, "reason")?,
            },
            "RESET" => Self::Reset {
                guest: flag(data, "guest")?,
                reason: field(data, "reason")?,
            },
            "POWERDOWN" => Self::Powerdown,
            "STOP" => Self::Stop,
            "RESUME" => Self::Resume,
            "SUSPEND" => Self::Suspend,
            "WAKEUP" => Self::Wakeup,
            "WATCHDOG" => Self::Watchdog {
                action: field(data, "action")?,
            },
            "GUEST_PANICKED" => Self::GuestPanicked {
                action: field(data, "action")?,
                info: data["info"].clone(),
            },
            "GUEST_CRASHLOADED" => Self::GuestCrashloaded {
                action: field(data, "action")?,
                info: data["info"].clone(),
            },
            "VSERPORT_CHANGE" => Self::VserportChange {
                id: field(data, "id")?,
                open: flag(data, "open")?,
            },
            "MIGRATION" => Self::Migration {
                status: field(data, "status")?,
            },
            "BALLOON_CHANGE" => Self::BalloonChange {
                actual: data["actual"].as_u64()?,
            },
            _ => return Self::read_device(name, data),
        })
    }

    fn read_device(name: &str, data: &Value) -> Option<Self> {
        Some(match name {
            "BLOCK_IO_ERROR" => Self::BlockIoError {
                device: field(data, "device")?,
                node_name: field(data, "node-name"),
                operation: field(data, "operation")?,
                action: field(data, "action")?,
                nospace: flag(data, "nospace").unwrap_or(false),
                reason: field(data, "reason").unwrap_or_default(),
            },
            "DEVICE_DELETED" => Self::DeviceDeleted {
                device: field(data, "device"),
                path: field(data, "path")?,
            },
            "DEVICE_UNPLUG_GUEST_ERROR" => Self::DeviceUnplugGuestError {
                device: field(data, "device"),
                path: field(data, "path")?,
            },
            "JOB_STATUS_CHANGE" => Self::JobStatusChange {
                id: field(data, "id")?,
                status: field(data, "status")?,
            },
            _ => return None,
        })
    }
}

fn field<'a, T: Deserialize<'a>>(data: &'a Value, name: &str) -> Option<T> {
    T::deserialize(data.get(name)?).ok()
}

fn flag(data: &Value, name: &str) -> Option<bool> {
    data.get(name)?.as_bool()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(value: Value) -> Event {
        let Value::Object(object) = value else {
            panic!("an object");
        };
        Event::from_object(object).expect("an event")
    }

    #[test]
    fn a_new_enum_value_keeps_the_event_known() {
        let seen = event(
            json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-teleport"}}),
        );
        assert_eq!(
            seen.known,
            Some(Known::Shutdown {
                guest: true,
                reason: OrOther::Other("guest-teleport".into())
            })
        );
        let seen = event(
            json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}),
        );
        let Some(Known::Shutdown { reason, .. }) = seen.known else {
            panic!("known");
        };
        assert!(reason == qmp::ShutdownCause::guest_shutdown);
        let seen = event(
            json!({"event": "GUEST_PANICKED", "data": {"action": "pause", "info": {"type": "tdx", "error-code": 1}}}),
        );
        assert!(
            matches!(seen.known, Some(Known::GuestPanicked { info, .. }) if info["type"] == "tdx")
        );
    }

    #[test]
    fn an_unknown_event_or_shape_is_kept_raw() {
        let seen = event(
            json!({"event": "NETDEV_VHOST_USER_CONNECTED", "data": {"netdev-id": "n"},
            "timestamp": {"seconds": 7, "microseconds": 9}}),
        );
        assert_eq!(
            (seen.known.is_none(), seen.seconds, seen.microseconds),
            (true, 7, 9)
        );
        assert_eq!(seen.to_json()["data"]["netdev-id"], "n");
        assert!(
            event(json!({"event": "SHUTDOWN", "data": 5}))
                .known
                .is_none()
        );
        assert!(event(json!({"event": "STOP"})).known.is_some());
    }
}

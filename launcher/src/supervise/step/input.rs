//! What happens to a VM, and what is done about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::state::{IoError, Leaving};
use crate::monitor::protocol::ExitStatus;

/// What happens to the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `cont` was answered, or the guest is left paused as asked.
    Started {
        /// `startStrategy: Paused`.
        paused: bool,
    },
    /// Setting up failed.
    StartFailed,
    /// An action failed.
    Failed(Action),
    /// An action succeeded.
    Did(Action),
    /// QMP `SHUTDOWN`: the guest is gone, QEMU holds still.
    GuestShutdown(ShutdownCause),
    /// QMP `GUEST_PANICKED`.
    GuestPanicked,
    /// QMP `RESET`.
    GuestReset,
    /// QMP `STOP`.
    Paused,
    /// After a `STOP` that nothing led up to: QEMU is in `internal-error`.
    CannotGoOn,
    /// QMP `RESUME`.
    Resumed,
    /// QMP `BLOCK_IO_ERROR`.
    DiskFailed {
        /// Which and how.
        error: IoError,
        /// QEMU is about to pause because of it.
        stops: bool,
    },
    /// QMP `WATCHDOG`.
    Watchdog(Bark),
    /// A memory dump, during which QEMU stops the vCPUs.
    Dump(Dump),
    /// A device of the host is on its way out of the guest.
    Device {
        /// QEMU's id for it.
        id: String,
        /// How far.
        leaving: Leaving,
    },
    /// The guest agent opened or closed its port.
    Agent {
        /// Open.
        connected: bool,
    },
    /// TERM, INT or QUIT.
    Terminate,
    /// Somebody wants something.
    Ask(Operation),
    /// An alarm went off.
    Alarm(Alarm),
    /// The monitor's session ended and cannot be had again.
    MonitorLost,
    /// PID 1 reaped QEMU.
    QemuExited {
        /// How it ended.
        status: ExitStatus,
        /// PID 1 itself had ended it.
        overdue: bool,
    },
}

/// QEMU's `WatchdogAction`, as far as it decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bark {
    /// QEMU is about to pause because of it.
    Pause,
    /// QEMU exits at once, with code 0.
    Poweroff,
    /// The machine is about to be reset.
    Reset,
    /// The power button is pressed.
    Shutdown,
    /// Nothing happens but that it is told.
    Other,
}

/// Where a memory dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// QEMU is about to be told.
    Begins,
    /// It is over, well or not.
    Ended,
}

/// QEMU's `ShutdownCause`, as far as it decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownCause {
    /// `guest-shutdown`, and whatever else a guest does to itself.
    Guest,
    /// `guest-reset` under `-action reboot=shutdown`.
    GuestReset,
    /// `guest-panic`.
    GuestPanic,
    /// `host-*`: our own quit, or a signal to QEMU.
    Host,
}

/// What the driver does; each that can fail answers with `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// QMP `system_powerdown`.
    PressPowerButton,
    /// Agent `guest-shutdown`, mode `powerdown`.
    AskAgentToPowerOff,
    /// Agent `guest-shutdown`, mode `reboot`.
    AskAgentToReboot,
    /// QMP `stop`.
    Pause,
    /// QMP `cont`.
    Resume,
    /// QMP `system_reset`.
    Reset,
    /// Agent `guest-fsfreeze-freeze`.
    Freeze,
    /// Agent `guest-fsfreeze-thaw`.
    Thaw,
    /// QMP `quit`.
    Quit,
    /// SIGKILL by pidfd.
    Kill,
    /// Call back after this time; setting it anew replaces the old one.
    Set(Alarm, Duration),
    /// Forget one alarm.
    Clear(Alarm),
    /// Forget every alarm.
    ClearAlarms,
}

/// What was asked to be called back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    /// Press the power button again.
    PressAgain,
    /// The guest's time is up.
    GraceOver,
    /// QEMU's time is up.
    QuitOverdue,
    /// The guest did not reboot.
    RebootOver,
    /// Frozen file systems are to be thawed.
    Thaw,
}

impl Action {
    /// Whether QEMU or the guest agent is told something, which can fail.
    pub fn is_command(&self) -> bool {
        !matches!(
            self,
            Self::Kill | Self::Set(..) | Self::Clear(_) | Self::ClearAlarms
        )
    }
}

//! How a VM ended, and the exit code that says so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::monitor::protocol::ExitStatus;

/// Known for certain: QEMU pauses instead of exiting when the guest ends (`-action shutdown=pause,panic=pause`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The guest powered off, by itself or because it was asked to.
    PoweredOff,
    /// The guest reset and `rebootPolicy: Terminate` makes that the end.
    Reset,
    /// One of the two, under `rebootPolicy: Terminate`: QEMU tells them apart once, and no supervisor listened.
    OffOrReset,
    /// The guest's kernel panicked.
    Panicked,
    /// The guest had not fed its watchdog, whose action is `poweroff`.
    WatchdogFired,
    /// Somebody asked for the VM to be killed.
    Destroyed,
    /// The guest did not power off in its grace period, or was not given one, and QEMU was told to quit.
    Quit,
    /// QEMU did not quit either and was killed.
    Killed,
    /// QEMU ended by itself.
    QemuDied(ExitStatus),
    /// QEMU runs but its monitor is gone; it was killed.
    ControlLost,
    /// A signal came before the guest had started.
    Cancelled,
    /// The supervisor died before the guest ran, and what was left to do takes privileges that are gone.
    StartLost,
}

/// The program's exit codes; the README's table is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The guest ended as guests do.
    Stopped = 0,
    /// A failure of the launcher itself.
    Bug = 1,
    /// The command line is wrong (clap's own code).
    Usage = 2,
    /// The VMI is refused, or this host cannot give what it asks.
    Refused = 3,
    /// The host lacks what every VM needs.
    HostUnfit = 4,
    /// QEMU did not start, or died.
    QemuFailed = 5,
    /// The guest's kernel panicked, or hung until its watchdog powered it off.
    GuestPanicked = 6,
    /// The guest was ended by force.
    Forced = 7,
    /// The launcher lost hold of a running QEMU, or was killed itself.
    ControlLost = 8,
}

impl Outcome {
    /// What the process says to whoever started it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::PoweredOff | Self::Reset | Self::OffOrReset => ExitCode::Stopped,
            Self::Panicked | Self::WatchdogFired => ExitCode::GuestPanicked,
            Self::Quit | Self::Killed | Self::Destroyed | Self::Cancelled => ExitCode::Forced,
            Self::QemuDied(_) => ExitCode::QemuFailed,
            Self::ControlLost | Self::StartLost => ExitCode::ControlLost,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("the guest powered off"),
            Self::Reset => f.write_str("the guest reset, and its rebootPolicy is Terminate"),
            Self::OffOrReset => f.write_str(
                "the guest powered off, or reset under its rebootPolicy Terminate, unseen",
            ),
            Self::Destroyed => f.write_str("the VM was killed as asked"),
            Self::Panicked => f.write_str("the guest's kernel panicked"),
            Self::WatchdogFired => {
                f.write_str("the guest did not feed its watchdog, which powered it off")
            }
            Self::Quit => f.write_str("the guest did not power off in time; QEMU quit"),
            Self::Killed => f.write_str("QEMU did not quit; it was killed"),
            Self::QemuDied(status) => write!(f, "QEMU ended by itself ({status})"),
            Self::ControlLost => f.write_str("QEMU's monitor was lost; QEMU was killed"),
            Self::StartLost => {
                f.write_str("the supervisor died while the VM started; QEMU was killed")
            }
            Self::Cancelled => f.write_str("ended before the guest started"),
        }
    }
}

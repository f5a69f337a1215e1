//! Devices other than disks and NICs.

/// Which of KubeVirt's optional devices the machine has (facts 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// `autoattachGraphicsDevice` (default on): VGA, and VNC on its unix socket.
    pub graphics: bool,
    /// `video.type`, where given.
    pub video: Option<String>,
    /// `autoattachSerialConsole` (default on).
    pub serial_console: bool,
    /// `autoattachMemBalloon` (default on).
    pub balloon: bool,
    /// `rng`.
    pub rng: bool,
    /// `panicDevices`: by which the guest's kernel can tell that it panicked.
    pub panics: Vec<PanicDevice>,
    /// `watchdog`.
    pub watchdog: Option<Watchdog>,
    /// `inputs`, and the tablet of `autoattachInputDevice`.
    pub inputs: Vec<Input>,
    /// `useVirtioTransitional`.
    pub virtio_transitional: bool,
    /// `disableHotplug`: no SCSI controller unless a disk needs it.
    pub disable_hotplug: bool,
    /// `blockMultiQueue`: virtio-blk gets a queue a vCPU.
    pub block_multi_queue: bool,
}

/// `panicDevices[].model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanicDevice {
    /// An I/O port that ACPI names.
    Isa,
    /// A PCI device.
    Pvpanic,
    /// Registers that Windows writes to (`hv-crash`).
    Hyperv,
}

/// `watchdog`: an Intel 6300ESB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// The VMI's name for it.
    pub name: String,
    /// What happens when the guest has not fed it in time.
    pub action: WatchdogAction,
}

/// `i6300esb.action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchdogAction {
    /// QEMU ends at once.
    Poweroff,
    /// The machine is reset.
    Reset,
    /// The power button is pressed.
    Shutdown,
}

impl WatchdogAction {
    /// KubeVirt's and QEMU's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poweroff => "poweroff",
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One `inputs[]` entry: a tablet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Unique within the VMI.
    pub name: String,
    /// `bus`.
    pub bus: InputBus,
}

/// Where a tablet is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputBus {
    /// On the USB controller, which exists only for this.
    Usb,
    /// `virtio-tablet-pci`.
    Virtio,
}

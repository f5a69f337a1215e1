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
    /// `panicDevices`: the guest's kernel can tell that it panicked.
    pub panic: bool,
    /// `inputs`, and the tablet of `autoattachInputDevice`.
    pub inputs: Vec<Input>,
    /// `useVirtioTransitional`.
    pub virtio_transitional: bool,
    /// `disableHotplug`: no SCSI controller unless a disk needs it.
    pub disable_hotplug: bool,
    /// `blockMultiQueue`: virtio-blk gets a queue a vCPU.
    pub block_multi_queue: bool,
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

//! Machine type, firmware, SMBIOS, clock and direct kernel boot.

use uuid::Uuid;

/// The board and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// `machine.type`, verbatim (`q35`, `pc-q35-...`).
    pub machine_type: String,
    /// `firmware.uuid`; derived from the VM's name when absent, so that it stays the same over restarts.
    pub uuid: Uuid,
    /// `firmware.serial`: SMBIOS type 1 serial.
    pub serial: Option<String>,
    /// `chassis`: SMBIOS type 3.
    pub chassis: Chassis,
    /// `bootloader.bios.useSerial`.
    pub bios_serial: bool,
    /// `features.acpi`, on by default.
    pub acpi: bool,
    /// `features.smm`.
    pub smm: bool,
    /// `clock`.
    pub clock: Clock,
    /// `firmware.kernelBoot`.
    pub kernel_boot: Option<KernelBoot>,
}

/// SMBIOS type 3 fields, each absent unless given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "SMBIOS type 3's own names")]
pub struct Chassis {
    pub manufacturer: Option<String>,
    pub version: Option<String>,
    pub serial: Option<String>,
    pub asset: Option<String>,
    pub sku: Option<String>,
}

/// `firmware.kernelBoot`: a kernel that QEMU loads itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBoot {
    /// File name of the kernel within the kernel-boot directory (KubeVirt keeps only the base name).
    pub kernel: Option<String>,
    /// File name of the initramfs.
    pub initrd: Option<String>,
    /// `kernelArgs`; allowed only with a kernel.
    pub args: Option<String>,
}

/// `clock`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clock {
    /// `-rtc base=`: `utc`, `localtime`, or a date; with `clock.utc.offsetSeconds` the offset in seconds.
    pub utc_offset_seconds: i64,
    /// `clock.timezone`.
    pub timezone: Option<String>,
    /// `timer.rtc.tickPolicy: catchup`.
    pub rtc_catchup: bool,
    /// `timer.rtc.track: guest`.
    pub rtc_track_guest: bool,
    /// `timer.pit.tickPolicy`, as KVM's `kvm-pit.lost_tick_policy` (`delay` or `discard`).
    pub pit_lost_tick_policy: Option<String>,
    /// `timer.hpet.present`; q35's own default when absent.
    pub hpet: Option<bool>,
}

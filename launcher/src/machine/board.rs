//! The board: `-machine`, `-accel`, `-smp`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::device::KeyValues;
use crate::spec::cpu::Cpu;
use crate::spec::firmware::Firmware;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The CPU.
    Kvm,
    /// QEMU itself.
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// `-machine`; `memory` is the backend of all RAM, where there is one.
pub fn machine(firmware: &Firmware, memory: Option<&str>) -> KeyValues {
    let on = |value| if value { "on" } else { "off" };
    let mut machine = KeyValues::headed(firmware.machine_type.clone())
        .with("usb", "off")
        .with("vmport", "off")
        .with("dump-guest-core", "off")
        .with_some("memory-backend", memory)
        .with("acpi", on(firmware.acpi));
    if firmware.smm {
        machine = machine.with("smm", "on");
    }
    if firmware.bios_serial {
        // Without graphics QEMU tells SeaBIOS to use COM1.
        machine = machine.with("graphics", "off");
    }
    machine.with_some("hpet", firmware.clock.hpet.map(on))
}

/// `-accel`.
pub fn accel(accel: Accel) -> KeyValues {
    match accel {
        Accel::Kvm => KeyValues::headed("kvm"),
        Accel::Tcg => KeyValues::headed("tcg").with("thread", "multi"),
    }
}

/// `-smp`.
pub fn smp(cpu: &Cpu) -> KeyValues {
    KeyValues::headed(cpu.vcpus().to_string())
        .with("sockets", cpu.sockets.to_string())
        .with("cores", cpu.cores.to_string())
        .with("threads", cpu.threads.to_string())
}

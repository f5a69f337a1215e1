//! CPU, memory, firmware, clock and features.

use super::{Group, filled, present};

pub(super) const GROUPS: &[Group] = &[
    Group {
        honoured: &[
            "cpu",
            "memory",
            "resources",
            "machine",
            "firmware",
            "chassis",
            "clock",
            "features",
            "devices",
            "rebootPolicy",
            "ioThreadsPolicy",
            "ioThreads",
        ],
        refused: &[filled(
            "launchSecurity",
            "encrypted guests (SEV, SNP, TDX) are not supported by this version",
            "remove it if the guest need not be protected from its host",
        )],
        ..Group::at("spec.domain")
    },
    Group {
        honoured: &[
            "sockets",
            "cores",
            "threads",
            "maxSockets",
            "model",
            "features",
            "dedicatedCpuPlacement",
            "isolateEmulatorThread",
            "numa",
            "realtime",
        ],
        ..Group::at("spec.domain.cpu")
    },
    Group {
        honoured: &["name", "policy"],
        ..Group::at("spec.domain.cpu.features[]")
    },
    Group {
        honoured: &["guestMappingPassthrough"],
        ..Group::at("spec.domain.cpu.numa")
    },
    Group::at("spec.domain.cpu.numa.guestMappingPassthrough"),
    Group {
        honoured: &["mask"],
        ..Group::at("spec.domain.cpu.realtime")
    },
    Group {
        honoured: &["supplementalPoolThreadCount"],
        ..Group::at("spec.domain.ioThreads")
    },
    Group {
        honoured: &["guest", "hugepages"],
        pod: &["reservedOverhead"],
        headroom: &[(
            "maxGuest",
            "room for memory hotplug, which this version does not have: the guest starts with `guest` and keeps it",
        )],
        ..Group::at("spec.domain.memory")
    },
    Group {
        honoured: &["pageSize"],
        ..Group::at("spec.domain.memory.hugepages")
    },
    Group {
        honoured: &["requests", "limits"],
        pod: &["overcommitGuestOverhead", "claims"],
        ..Group::at("spec.domain.resources")
    },
    Group {
        honoured: &["cpu", "memory"],
        open: true,
        ..Group::at("spec.domain.resources.requests")
    },
    Group {
        honoured: &["cpu", "memory"],
        open: true,
        ..Group::at("spec.domain.resources.limits")
    },
    Group {
        honoured: &["type"],
        ..Group::at("spec.domain.machine")
    },
    Group {
        honoured: &["uuid", "serial", "bootloader", "kernelBoot"],
        refused: &[filled(
            "acpi",
            "ACPI tables from secrets (SLIC, MSDM) are not supported by this version",
            "remove it",
        )],
        ..Group::at("spec.domain.firmware")
    },
    Group {
        honoured: &["bios"],
        refused: &[present(
            "efi",
            "UEFI firmware is not supported by this version",
            "use `bios: {}` where the guest's disk can boot from BIOS",
        )],
        ..Group::at("spec.domain.firmware.bootloader")
    },
    Group {
        honoured: &["useSerial"],
        ..Group::at("spec.domain.firmware.bootloader.bios")
    },
    Group {
        honoured: &["kernelArgs", "container"],
        ..Group::at("spec.domain.firmware.kernelBoot")
    },
    Group {
        honoured: &["image", "kernelPath", "initrdPath"],
        pod: &["imagePullPolicy", "imagePullSecret"],
        ..Group::at("spec.domain.firmware.kernelBoot.container")
    },
    Group {
        honoured: &["manufacturer", "version", "serial", "asset", "sku"],
        ..Group::at("spec.domain.chassis")
    },
    Group {
        honoured: &["utc", "timezone", "timer"],
        ..Group::at("spec.domain.clock")
    },
    Group {
        honoured: &["offsetSeconds"],
        ..Group::at("spec.domain.clock.utc")
    },
    Group {
        honoured: &["hpet", "pit", "rtc", "kvm", "hyperv"],
        ..Group::at("spec.domain.clock.timer")
    },
    Group {
        honoured: &["present", "tickPolicy"],
        ..Group::at("spec.domain.clock.timer.hpet")
    },
    Group {
        honoured: &["present", "tickPolicy"],
        ..Group::at("spec.domain.clock.timer.pit")
    },
    Group {
        honoured: &["present", "tickPolicy", "track"],
        ..Group::at("spec.domain.clock.timer.rtc")
    },
    Group {
        honoured: &["present"],
        ..Group::at("spec.domain.clock.timer.kvm")
    },
    Group {
        honoured: &["present"],
        ..Group::at("spec.domain.clock.timer.hyperv")
    },
    Group {
        honoured: &[
            "acpi",
            "apic",
            "smm",
            "pvspinlock",
            "kvm",
            "hyperv",
            "hypervPassthrough",
        ],
        ..Group::at("spec.domain.features")
    },
    state("spec.domain.features.acpi"),
    Group {
        honoured: &["enabled", "endOfInterrupt"],
        ..Group::at("spec.domain.features.apic")
    },
    state("spec.domain.features.smm"),
    state("spec.domain.features.pvspinlock"),
    state("spec.domain.features.hypervPassthrough"),
    Group {
        honoured: &["hidden"],
        ..Group::at("spec.domain.features.kvm")
    },
    Group {
        honoured: &[
            "relaxed",
            "vapic",
            "spinlocks",
            "vpindex",
            "runtime",
            "synic",
            "synictimer",
            "reset",
            "vendorid",
            "frequencies",
            "reenlightenment",
            "tlbflush",
            "ipi",
            "evmcs",
        ],
        ..Group::at("spec.domain.features.hyperv")
    },
    state("spec.domain.features.hyperv.relaxed"),
    state("spec.domain.features.hyperv.vapic"),
    Group {
        honoured: &["enabled", "spinlocks"],
        ..Group::at("spec.domain.features.hyperv.spinlocks")
    },
    state("spec.domain.features.hyperv.vpindex"),
    state("spec.domain.features.hyperv.runtime"),
    state("spec.domain.features.hyperv.synic"),
    Group {
        honoured: &["enabled", "direct"],
        ..Group::at("spec.domain.features.hyperv.synictimer")
    },
    state("spec.domain.features.hyperv.synictimer.direct"),
    state("spec.domain.features.hyperv.reset"),
    Group {
        honoured: &["enabled", "vendorid"],
        ..Group::at("spec.domain.features.hyperv.vendorid")
    },
    state("spec.domain.features.hyperv.frequencies"),
    state("spec.domain.features.hyperv.reenlightenment"),
    Group {
        honoured: &["enabled", "direct", "extended"],
        ..Group::at("spec.domain.features.hyperv.tlbflush")
    },
    state("spec.domain.features.hyperv.tlbflush.direct"),
    state("spec.domain.features.hyperv.tlbflush.extended"),
    state("spec.domain.features.hyperv.ipi"),
    state("spec.domain.features.hyperv.evmcs"),
];

const fn state(at: &'static str) -> Group {
    Group {
        honoured: &["enabled"],
        ..Group::at(at)
    }
}

//! Devices and disks.

use super::{Group, Refused, enabled, filled, present};

const TAG: Refused = filled(
    "tag",
    "device tags in cloud-init metadata are not supported by this version",
    "remove it",
);
const CLAIM: Refused = filled(
    "claimName",
    "devices by dynamic resource allocation are not supported by this version",
    "name the device plugin's resource by `deviceName`",
);

pub(super) const GROUPS: &[Group] = &[
    Group {
        honoured: &[
            "disks",
            "interfaces",
            "inputs",
            "gpus",
            "hostDevices",
            "video",
            "rng",
            "panicDevices",
            "watchdog",
            "useVirtioTransitional",
            "disableHotplug",
            "blockMultiQueue",
            "networkInterfaceMultiqueue",
            "autoattachPodInterface",
            "autoattachGraphicsDevice",
            "autoattachSerialConsole",
            "autoattachMemBalloon",
            "autoattachInputDevice",
        ],
        pod: &["logSerialConsole"],
        refused: &[
            filled(
                "filesystems",
                "virtiofs is not supported by this version",
                "put the files on a disk",
            ),
            enabled(
                "tpm",
                "a TPM is not supported by this version",
                "remove it if the guest can do without",
            ),
            present(
                "sound",
                "sound is not supported by this version",
                "remove it",
            ),
            present(
                "downwardMetrics",
                "downward metrics are not supported by this version",
                "remove it",
            ),
            present(
                "clientPassthrough",
                "USB redirection from clients is not supported by this version",
                "remove it",
            ),
            filled(
                "autoattachVSOCK",
                "vsock is not supported by this version",
                "remove it",
            ),
        ],
        ..Group::at("spec.domain.devices")
    },
    Group {
        honoured: &["name", "deviceName"],
        refused: &[
            filled(
                "virtualGPUOptions",
                "displays of virtual GPUs are not supported by this version",
                "remove it: the guest computes on the GPU and shows itself by VNC",
            ),
            CLAIM,
            TAG,
        ],
        ..Group::at("spec.domain.devices.gpus[]")
    },
    Group {
        honoured: &["name", "deviceName"],
        refused: &[CLAIM, TAG],
        ..Group::at("spec.domain.devices.hostDevices[]")
    },
    Group {
        honoured: &[
            "name",
            "disk",
            "cdrom",
            "cache",
            "io",
            "serial",
            "bootOrder",
            "errorPolicy",
            "dedicatedIOThread",
        ],
        refused: &[
            present(
                "lun",
                "SCSI passthrough is not supported by this version",
                "use `disk: {bus: scsi}`",
            ),
            filled(
                "blockSize",
                "block sizes of the guest's choice are not supported by this version",
                "remove it",
            ),
            filled(
                "shareable",
                "disks that several VMs write to are not supported by this version",
                "remove it",
            ),
            filled(
                "changedBlockTracking",
                "changed block tracking is not supported by this version",
                "remove it",
            ),
            TAG,
        ],
        ..Group::at("spec.domain.devices.disks[]")
    },
    Group {
        honoured: &["bus", "readonly", "pciAddress"],
        ..Group::at("spec.domain.devices.disks[].disk")
    },
    Group {
        honoured: &["bus", "readonly", "tray"],
        ..Group::at("spec.domain.devices.disks[].cdrom")
    },
    Group {
        honoured: &["name", "bus", "type"],
        ..Group::at("spec.domain.devices.inputs[]")
    },
    Group {
        honoured: &["type"],
        ..Group::at("spec.domain.devices.video")
    },
    Group {
        honoured: &["model"],
        ..Group::at("spec.domain.devices.panicDevices[]")
    },
    Group {
        honoured: &["name", "i6300esb"],
        refused: &[present(
            "diag288",
            "it is a watchdog of another architecture (s390x)",
            "use `i6300esb`",
        )],
        ..Group::at("spec.domain.devices.watchdog")
    },
    Group {
        honoured: &["action"],
        ..Group::at("spec.domain.devices.watchdog.i6300esb")
    },
    Group::at("spec.domain.devices.rng"),
];

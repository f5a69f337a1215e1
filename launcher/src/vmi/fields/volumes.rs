//! Volumes.

use super::{Group, Refused, filled, present};

const SEED: &str = "put the data into a `cloudInitNoCloud` volume or onto a disk";
const HOTPLUGGED: Refused = filled(
    "hotpluggable",
    "hotplugged volumes are not supported by this version",
    "remove it: the volume is then there from the start",
);
const SECRETS: [Refused; 2] = [
    present(
        "secretRef",
        "user data from a secret is not supported by this version",
        "give it as `userData` or `userDataBase64`",
    ),
    present(
        "networkDataSecretRef",
        "network data from a secret is not supported by this version",
        "give it as `networkData` or `networkDataBase64`",
    ),
];

pub(super) const GROUPS: &[Group] = &[
    Group {
        honoured: &[
            "name",
            "containerDisk",
            "persistentVolumeClaim",
            "dataVolume",
            "hostDisk",
            "emptyDisk",
            "cloudInitNoCloud",
        ],
        refused: &[
            present(
                "cloudInitConfigDrive",
                "the config-drive form of cloud-init is not supported by this version",
                "use `cloudInitNoCloud`, which takes the same fields",
            ),
            present(
                "configMap",
                "volumes from config maps are not supported by this version",
                SEED,
            ),
            present(
                "secret",
                "volumes from secrets are not supported by this version",
                SEED,
            ),
            present(
                "serviceAccount",
                "service account volumes are not supported by this version",
                SEED,
            ),
            present(
                "downwardAPI",
                "downward API volumes are not supported by this version",
                SEED,
            ),
            present(
                "sysprep",
                "sysprep volumes are not supported by this version",
                "put the answer file onto a disk",
            ),
            present(
                "ephemeral",
                "throw-away overlays on claims are not supported by this version",
                "use `persistentVolumeClaim`, or a `containerDisk`",
            ),
            present(
                "downwardMetrics",
                "downward metrics are not supported by this version",
                "remove it",
            ),
            present(
                "memoryDump",
                "memory dumps are not supported by this version",
                "remove it",
            ),
            present(
                "containerPath",
                "paths of the container are not supported by this version",
                "put the files on a disk",
            ),
        ],
        ..Group::at("spec.volumes[]")
    },
    Group {
        honoured: &["image"],
        pod: &["imagePullPolicy", "imagePullSecret", "path"],
        ..Group::at("spec.volumes[].containerDisk")
    },
    Group {
        honoured: &["claimName", "readOnly"],
        refused: &[HOTPLUGGED],
        ..Group::at("spec.volumes[].persistentVolumeClaim")
    },
    Group {
        honoured: &["name"],
        refused: &[HOTPLUGGED],
        ..Group::at("spec.volumes[].dataVolume")
    },
    Group {
        honoured: &["path", "type", "capacity"],
        refused: &[filled(
            "shared",
            "disks that several VMs write to are not supported by this version",
            "remove it",
        )],
        ..Group::at("spec.volumes[].hostDisk")
    },
    Group {
        honoured: &["capacity"],
        ..Group::at("spec.volumes[].emptyDisk")
    },
    Group {
        honoured: &[
            "userData",
            "userDataBase64",
            "networkData",
            "networkDataBase64",
        ],
        refused: &SECRETS,
        ..Group::at("spec.volumes[].cloudInitNoCloud")
    },
];

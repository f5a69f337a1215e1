//! The object around the domain.

use super::{Group, filled};

pub(super) const GROUPS: &[Group] = &[
    Group {
        honoured: &["apiVersion", "kind", "metadata", "spec", "status"],
        ..Group::at("")
    },
    Group {
        honoured: &["name", "namespace", "uid", "labels", "annotations"],
        pod: &[
            "generateName",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "finalizers",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
        ],
        open: true,
        ..Group::at("metadata")
    },
    Group {
        honoured: &[
            "architecture",
            "domain",
            "hostname",
            "subdomain",
            "terminationGracePeriodSeconds",
            "startStrategy",
            "networks",
            "volumes",
        ],
        pod: &[
            "affinity",
            "dnsConfig",
            "dnsPolicy",
            "evictionStrategy",
            "livenessProbe",
            "nodeSelector",
            "priorityClassName",
            "readinessProbe",
            "schedulerName",
            "serviceAccountName",
            "tolerations",
            "topologySpreadConstraints",
        ],
        refused: &[
            filled(
                "accessCredentials",
                "injecting SSH keys and passwords from secrets is not supported by this version",
                "put them into the cloud-init user data",
            ),
            filled(
                "resourceClaims",
                "devices by dynamic resource allocation are not supported by this version",
                "remove it, and the devices that refer to it",
            ),
            filled(
                "utilityVolumes",
                "volumes for memory dumps and backups are not supported by this version",
                "remove it",
            ),
        ],
        ..Group::at("spec")
    },
    Group {
        honoured: &["interfaces", "topologyHints"],
        open: true,
        ..Group::at("status")
    },
    Group {
        honoured: &[
            "name",
            "mac",
            "podInterfaceName",
            "infoSource",
            "queueCount",
        ],
        open: true,
        ..Group::at("status.interfaces[]")
    },
    Group {
        honoured: &["tscFrequency"],
        open: true,
        ..Group::at("status.topologyHints")
    },
];

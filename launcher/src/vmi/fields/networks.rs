//! Interfaces and the networks behind them.

use super::{Group, filled, present};

const MASQUERADE: &str = "use `masquerade: {}` on the pod network";

pub(super) const GROUPS: &[Group] = &[
    Group {
        honoured: &[
            "name",
            "model",
            "masquerade",
            "ports",
            "macAddress",
            "bootOrder",
            "pciAddress",
            "acpiIndex",
            "state",
            "dhcpOptions",
        ],
        refused: &[
            present(
                "bridge",
                "the bridge binding is not supported by this version",
                MASQUERADE,
            ),
            present(
                "sriov",
                "SR-IOV is not supported by this version",
                MASQUERADE,
            ),
            present(
                "passt",
                "the passt binding is not supported by this version",
                MASQUERADE,
            ),
            present(
                "passtBinding",
                "the passt binding is not supported by this version",
                MASQUERADE,
            ),
            present(
                "slirp",
                "the slirp binding is gone from KubeVirt",
                MASQUERADE,
            ),
            present(
                "macvtap",
                "the macvtap binding is gone from KubeVirt",
                MASQUERADE,
            ),
            present(
                "binding",
                "binding plugins are not supported by this version",
                MASQUERADE,
            ),
            filled(
                "portRanges",
                "ranges of ports are not supported by this version",
                "list them in `ports`",
            ),
            filled(
                "tag",
                "device tags in cloud-init metadata are not supported by this version",
                "remove it",
            ),
        ],
        ..Group::at("spec.domain.devices.interfaces[]")
    },
    Group::at("spec.domain.devices.interfaces[].masquerade"),
    Group {
        honoured: &["name", "protocol", "port"],
        ..Group::at("spec.domain.devices.interfaces[].ports[]")
    },
    Group {
        honoured: &[
            "bootFileName",
            "tftpServerName",
            "ntpServers",
            "privateOptions",
        ],
        ..Group::at("spec.domain.devices.interfaces[].dhcpOptions")
    },
    Group {
        honoured: &["option", "value"],
        ..Group::at("spec.domain.devices.interfaces[].dhcpOptions.privateOptions[]")
    },
    Group {
        honoured: &["name", "pod"],
        refused: &[
            present(
                "multus",
                "secondary networks are not supported by this version",
                "remove the network and its interface, or use `pod: {}`",
            ),
            present(
                "resourceClaim",
                "networks by dynamic resource allocation are not supported by this version",
                "remove the network and its interface, or use `pod: {}`",
            ),
        ],
        ..Group::at("spec.networks[]")
    },
    Group {
        honoured: &["vmNetworkCIDR", "vmIPv6NetworkCIDR"],
        ..Group::at("spec.networks[].pod")
    },
];

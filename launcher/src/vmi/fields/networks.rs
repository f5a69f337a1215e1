//! Interfaces and the networks behind them.

use super::{Group, present};

const OTHERS: &str = "use `masquerade: {}` or `bridge: {}`";

pub(super) const GROUPS: &[Group] = &[
    Group {
        honoured: &[
            "name",
            "model",
            "masquerade",
            "bridge",
            "sriov",
            "ports",
            "portRanges",
            "macAddress",
            "bootOrder",
            "pciAddress",
            "acpiIndex",
            "state",
            "dhcpOptions",
            "tag",
        ],
        refused: &[
            present(
                "passt",
                "the passt binding is not supported by this version",
                OTHERS,
            ),
            present(
                "passtBinding",
                "the passt binding is not supported by this version",
                OTHERS,
            ),
            present("slirp", "the slirp binding is gone from KubeVirt", OTHERS),
            present(
                "macvtap",
                "the macvtap binding is gone from KubeVirt",
                OTHERS,
            ),
            present(
                "binding",
                "binding plugins are not supported by this version",
                OTHERS,
            ),
        ],
        ..Group::at("spec.domain.devices.interfaces[]")
    },
    Group::at("spec.domain.devices.interfaces[].masquerade"),
    Group::at("spec.domain.devices.interfaces[].bridge"),
    Group::at("spec.domain.devices.interfaces[].sriov"),
    Group {
        honoured: &["name", "protocol", "port"],
        ..Group::at("spec.domain.devices.interfaces[].ports[]")
    },
    Group {
        honoured: &["protocol", "start", "end"],
        ..Group::at("spec.domain.devices.interfaces[].portRanges[]")
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
        honoured: &["name", "pod", "multus"],
        refused: &[present(
            "resourceClaim",
            "networks by dynamic resource allocation are not supported by this version",
            "remove the network and its interface, or use `pod: {}` or `multus`",
        )],
        ..Group::at("spec.networks[]")
    },
    Group {
        honoured: &["vmNetworkCIDR", "vmIPv6NetworkCIDR"],
        ..Group::at("spec.networks[].pod")
    },
    Group {
        honoured: &["networkName", "default"],
        ..Group::at("spec.networks[].multus")
    },
];

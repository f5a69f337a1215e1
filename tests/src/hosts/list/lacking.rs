//! Machines on which something is not there, or not told.

use super::{XEON, cores, nic, node, rows};
use crate::hosts::{Device, Host, Kind, Node, Pod, Siblings};

/// The VF's node has no pages of 1Gi, the other has; both have pages of 2Mi.
pub(super) fn no_1gi_on_node_1() -> Host {
    Host {
        name: "no-1gi-on-node-1",
        cpu: XEON,
        cores: cores(8, Siblings::Far, 4, 4),
        offline: "",
        nodes: vec![
            node(0, 0..4, 64, [8, 8, 0]),
            Node {
                small: [2048, 2048, 0],
                ..node(1, 4..8, 64, [0; 3])
            },
        ],
        possible_nodes: "0-1",
        distances: rows(&["10 21", "21 10"]),
        pod: Pod {
            cpus: "2-6,10-14",
            mems: "0-1",
            gib: 1,
            hugetlb: [2048, 4],
            ..Pod::default()
        },
        devices: nic(
            1,
            "4-7,12-15",
            [
                "pci0000:80/0000:80:02.0",
                "pci0000:80/0000:80:02.0/0000:82:00.0",
                "pci0000:80/0000:80:02.0/0000:82:02.1",
            ],
            87,
        )
        .into(),
    }
}

/// Four VFs that say -1: told by the bridge above, by the physical function, by `local_cpulist`, by nothing.
pub(super) fn vf_no_node() -> Host {
    let device = |path, node, local, kind| Device {
        path,
        node,
        local,
        kind,
    };
    Host {
        name: "vf-no-node",
        cpu: XEON,
        // No pages of 1Gi at all.
        cores: cores(8, Siblings::Far, 4, 4),
        offline: "",
        nodes: [0..4, 4..8]
            .into_iter()
            .zip(0..)
            .map(|(cores, id)| Node {
                large: None,
                small: [2048, 1024, 0],
                ..node(id, cores, 64, [0; 3])
            })
            .collect(),
        possible_nodes: "0-1",
        distances: rows(&["10 21", "21 10"]),
        pod: Pod {
            cpus: "0-15",
            mems: "0-1",
            gib: 1,
            hugetlb: [2048, 0],
            ..Pod::default()
        },
        devices: vec![
            device("pci0000:16/0000:16:02.0", 0, Some("0-3,8-11"), Kind::Bridge),
            device(
                "pci0000:16/0000:16:02.0/0000:17:00.0",
                -1,
                None,
                Kind::Physical,
            ),
            device(
                "pci0000:16/0000:16:02.0/0000:17:02.0",
                -1,
                None,
                Kind::Virtual { group: 41 },
            ),
            device("pci0000:64/0000:64:02.0", -1, None, Kind::Bridge),
            device(
                "pci0000:64/0000:64:02.0/0000:65:00.0",
                1,
                Some("4-7,12-15"),
                Kind::Physical,
            ),
            device(
                "pci0000:64/0000:64:02.0/0000:65:02.0",
                -1,
                None,
                Kind::Virtual { group: 42 },
            ),
            device("pci0000:b0/0000:b0:02.0", -1, None, Kind::Bridge),
            device(
                "pci0000:b0/0000:b0:02.0/0000:b1:00.0",
                -1,
                None,
                Kind::Physical,
            ),
            device(
                "pci0000:b0/0000:b0:02.0/0000:b1:02.0",
                -1,
                Some("4-7,12-15"),
                Kind::Virtual { group: 43 },
            ),
            device("pci0000:c9/0000:c9:02.0", -1, None, Kind::Bridge),
            device(
                "pci0000:c9/0000:c9:02.0/0000:ca:00.0",
                -1,
                None,
                Kind::Physical,
            ),
            device(
                "pci0000:c9/0000:c9:02.0/0000:ca:02.0",
                -1,
                None,
                Kind::Virtual { group: 44 },
            ),
        ],
    }
}

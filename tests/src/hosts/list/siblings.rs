//! Machines by how their CPUs are numbered.

use super::{XEON, cores, nic, node, rows};
use crate::hosts::{Cores, Device, Host, Kind, Node, Pod, Siblings};

/// SMT is switched off (`nosmt`): the second threads are offline. The firmware tells no node, and there is one only.
pub(super) fn smt_off() -> Host {
    let device = |path, kind| Device {
        path,
        node: -1,
        local: None,
        kind,
    };
    Host {
        name: "smt-off",
        cpu: XEON,
        cores: cores(8, Siblings::Far, 8, 8),
        offline: "8-15",
        nodes: vec![node(0, 0..8, 64, [8, 8, 0])],
        possible_nodes: "0",
        distances: rows(&["10"]),
        pod: Pod {
            cpus: "2-6",
            mems: "0",
            gib: 1,
            hugetlb: [0, 4],
            ..Pod::default()
        },
        devices: vec![
            device("pci0000:16/0000:16:02.0", Kind::Bridge),
            device("pci0000:16/0000:16:02.0/0000:17:00.0", Kind::Physical),
            device(
                "pci0000:16/0000:16:02.0/0000:17:02.0",
                Kind::Virtual { group: 41 },
            ),
        ],
    }
}

/// Siblings are neighbours, as on many ARM servers and in VMs; clusters of two cores. The pod has part of both nodes.
pub(super) fn smt_adjacent() -> Host {
    Host {
        name: "smt-adjacent",
        cpu: XEON,
        cores: Cores {
            cluster: Some(2),
            ..cores(8, Siblings::Adjacent, 4, 4)
        },
        offline: "",
        nodes: vec![node(0, 0..4, 64, [4, 4, 0]), node(1, 4..8, 64, [8, 6, 0])],
        possible_nodes: "0-1",
        distances: rows(&["10 21", "21 10"]),
        pod: Pod {
            cpus: "2-3,8-13",
            mems: "0-1",
            gib: 1,
            hugetlb: [0, 4],
            ..Pod::default()
        },
        devices: nic(
            1,
            "8-15",
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

/// Nodes 0, 2 and 3 of 0 to 3; one core and one sibling offline; node 3 has CPUs and no memory. Somebody bound the
/// process more closely than its cpuset.
pub(super) fn holes() -> Host {
    Host {
        name: "holes",
        cpu: XEON,
        cores: cores(8, Siblings::Far, 3, 3),
        offline: "3,11,13",
        nodes: vec![
            node(0, 0..3, 48, [4, 4, 0]),
            node(2, 3..6, 48, [6, 5, 0]),
            Node {
                small: [0; 3],
                ..node(3, 6..8, 0, [0; 3])
            },
        ],
        possible_nodes: "0-3",
        distances: rows(&["10 21 31", "21 10 21", "31 21 10"]),
        pod: Pod {
            cpus: "1-2,4-6,9-10,12,14",
            mems: "0,2",
            scheduler: Some("1-2,4-6,9-10,12"),
            gib: 1,
            hugetlb: [0, 4],
            ..Pod::default()
        },
        devices: nic(
            2,
            "4-5,12",
            [
                "pci0000:40/0000:40:02.0",
                "pci0000:40/0000:40:02.0/0000:42:00.0",
                "pci0000:40/0000:40:02.0/0000:42:02.0",
            ],
            55,
        )
        .into(),
    }
}

//! The machines.

use super::{Cores, Device, Host, Kind, Node, Pod, Siblings};

/// Those that are kept under `tests/hosts`.
pub fn kept() -> Vec<Host> {
    vec![
        smt_off(),
        smt_adjacent(),
        holes(),
        epyc_nps4(),
        xeon_snc4(),
        cxl(),
        no_1gi_on_node_1(),
        vf_no_node(),
    ]
}

const XEON: (&str, &str) = ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8480+");
const EPYC: (&str, &str) = ("AuthenticAMD", "AMD EPYC 7763 64-Core Processor");

/// Cores without clusters.
fn cores(count: u32, siblings: Siblings, l3: u32, package: u32) -> Cores {
    Cores {
        count,
        threads: 2,
        siblings,
        cluster: None,
        l3,
        package,
    }
}

/// A node with a few pages of 2Mi.
fn node(id: u32, cores: std::ops::Range<u32>, gib: u64, large: [u64; 3]) -> Node {
    Node {
        id,
        cores,
        gib,
        small: [512, 512, 0],
        large: Some(large),
    }
}

fn rows(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

/// A NIC behind a bridge, with its node on the node told by all three.
fn nic(node: i32, local: &'static str, paths: [&'static str; 3], group: u32) -> [Device; 3] {
    let [bridge, physical, virtual_] = paths;
    let device = |path, kind| Device {
        path,
        node,
        local: Some(local),
        kind,
    };
    [
        device(bridge, Kind::Bridge),
        device(physical, Kind::Physical),
        device(virtual_, Kind::Virtual { group }),
    ]
}

/// SMT is switched off (`nosmt`): the second threads are offline. The firmware tells no node, and there is one only.
fn smt_off() -> Host {
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
fn smt_adjacent() -> Host {
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
fn holes() -> Host {
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

/// One EPYC in four nodes (NPS4), two L3 caches a node; VFs on two of the nodes. The process is in a group below the
/// container's.
fn epyc_nps4() -> Host {
    let fast = nic(
        2,
        "8-11,24-27",
        [
            "pci0000:40/0000:40:01.1",
            "pci0000:40/0000:40:01.1/0000:41:00.0",
            "pci0000:40/0000:40:01.1/0000:41:02.0",
        ],
        60,
    );
    let other = nic(
        1,
        "4-7,20-23",
        [
            "pci0000:80/0000:80:01.1",
            "pci0000:80/0000:80:01.1/0000:81:00.0",
            "pci0000:80/0000:80:01.1/0000:81:02.3",
        ],
        71,
    );
    Host {
        name: "epyc-nps4",
        cpu: EPYC,
        cores: cores(16, Siblings::Far, 2, 16),
        offline: "",
        nodes: vec![
            node(0, 0..4, 64, [8, 8, 0]),
            node(1, 4..8, 64, [8, 2, 0]),
            node(2, 8..12, 64, [8, 6, 0]),
            node(3, 12..16, 64, [8, 8, 0]),
        ],
        possible_nodes: "0-3",
        distances: rows(&["10 12 12 12", "12 10 12 12", "12 12 10 12", "12 12 12 10"]),
        pod: Pod {
            cpus: "4-9,20-25",
            mems: "0-3",
            gib: 1,
            hugetlb: [0, 8],
            inner: Some("vm"),
            ..Pod::default()
        },
        devices: fast.into_iter().chain(other).collect(),
    }
}

/// Two Xeons in four nodes each (SNC4), one L3 cache a package. The VF's node has a single page left.
fn xeon_snc4() -> Host {
    let nodes = (0..8).map(|id| {
        let free = if id == 5 { 1 } else { 4 };
        node(id, id * 2..id * 2 + 2, 32, [4, free, 0])
    });
    let row = |of: usize| {
        let distance = |to: usize| match (to == of, to / 4 == of / 4) {
            (true, _) => "10",
            (false, true) => "12",
            (false, false) => "21",
        };
        let row: Vec<_> = (0..8).map(distance).collect();
        row.join(" ")
    };
    Host {
        name: "xeon-snc4",
        cpu: XEON,
        cores: cores(16, Siblings::Far, 8, 8),
        offline: "",
        nodes: nodes.collect(),
        possible_nodes: "0-7",
        distances: (0..8).map(row).collect(),
        pod: Pod {
            cpus: "8-11,24-27",
            mems: "0-7",
            gib: 1,
            hugetlb: [0, 8],
            reserved_on_host: 2,
            ..Pod::default()
        },
        devices: nic(
            5,
            "10-11,26-27",
            [
                "pci0000:97/0000:97:02.0",
                "pci0000:97/0000:97:02.0/0000:98:00.0",
                "pci0000:97/0000:97:02.0/0000:98:01.0",
            ],
            120,
        )
        .into(),
    }
}

/// Two nodes with CPUs, and a CXL memory node at each. Most pages are in the latter.
fn cxl() -> Host {
    Host {
        name: "cxl",
        cpu: XEON,
        cores: cores(8, Siblings::Far, 4, 4),
        offline: "",
        nodes: vec![
            node(0, 0..4, 64, [2, 2, 0]),
            node(1, 4..8, 64, [2, 1, 0]),
            node(2, 0..0, 128, [16, 16, 0]),
            node(3, 0..0, 128, [16, 16, 0]),
        ],
        possible_nodes: "0-3",
        distances: rows(&["10 21 14 24", "21 10 24 14", "14 24 10 26", "24 14 26 10"]),
        pod: Pod {
            cpus: "1-3,9-11",
            mems: "0-3",
            gib: 1,
            hugetlb: [0, 4],
            ..Pod::default()
        },
        devices: nic(
            0,
            "0-3,8-11",
            [
                "pci0000:16/0000:16:02.0",
                "pci0000:16/0000:16:02.0/0000:17:00.0",
                "pci0000:16/0000:16:02.0/0000:17:02.0",
            ],
            41,
        )
        .into(),
    }
}

/// The VF's node has no pages of 1Gi, the other has; both have pages of 2Mi.
fn no_1gi_on_node_1() -> Host {
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
fn vf_no_node() -> Host {
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

/// 1280 CPUs on 16 nodes in four boxes of four sockets, with 4 TiB in pages of 1Gi. Thousands of files: made where
/// they are needed.
pub fn sixteen_nodes() -> Host {
    let row = |of: usize| {
        let distance = |to: usize| match (to == of, to / 4 == of / 4) {
            (true, _) => "10",
            (false, true) => "16",
            (false, false) => "22",
        };
        let row: Vec<_> = (0..16).map(distance).collect();
        row.join(" ")
    };
    Host {
        name: "sixteen-nodes",
        cpu: XEON,
        cores: cores(640, Siblings::Far, 40, 40),
        offline: "",
        nodes: (0..16)
            .map(|id| node(id, id * 40..(id + 1) * 40, 512, [256, 256, 0]))
            .collect(),
        possible_nodes: "0-63",
        distances: (0..16).map(row).collect(),
        pod: Pod {
            cpus: "0-1279",
            mems: "0-15",
            gib: 64,
            hugetlb: [0, 4096],
            ..Pod::default()
        },
        devices: nic(
            9,
            "360-399,1000-1039",
            [
                "pci0009:00/0009:00:02.0",
                "pci0009:00/0009:00:02.0/0009:01:00.0",
                "pci0009:00/0009:00:02.0/0009:01:02.0",
            ],
            300,
        )
        .into(),
    }
}

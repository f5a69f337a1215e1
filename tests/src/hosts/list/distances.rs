//! Machines by how their nodes lie to each other.

use super::{EPYC, XEON, cores, nic, node, rows};
use crate::hosts::{Host, Pod, Siblings};

/// One EPYC in four nodes (NPS4), two L3 caches a node; VFs on two of the nodes. The process is in a group below the
/// container's.
pub(super) fn epyc_nps4() -> Host {
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
pub(super) fn xeon_snc4() -> Host {
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
pub(super) fn cxl() -> Host {
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

/// 16 nodes with 1280 CPUs, more than `cpu_set_t` holds.
pub fn sixteen_nodes() -> Host {
    sixteen(40, "0-1279", "360-399,1000-1039")
}

/// 16 nodes with 1024 CPUs.
pub fn a_thousand_cpus() -> Host {
    sixteen(32, "0-1023", "288-319,800-831")
}

/// 16 nodes of `each` cores of two threads, `cpus` in all, in four boxes of four sockets, with 4 TiB in pages of 1Gi; a NIC
/// on node 9, whose CPUs are `local`. Thousands of files: made where they are needed.
fn sixteen(each: u32, cpus: &'static str, local: &'static str) -> Host {
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
        cores: cores(16 * each, Siblings::Far, each, each),
        offline: "",
        nodes: (0..16)
            .map(|id| node(id, id * each..(id + 1) * each, 512, [256, 256, 0]))
            .collect(),
        possible_nodes: "0-63",
        distances: (0..16).map(row).collect(),
        pod: Pod {
            cpus,
            mems: "0-15",
            gib: 64,
            hugetlb: [0, 4096],
            ..Pod::default()
        },
        devices: nic(
            9,
            local,
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

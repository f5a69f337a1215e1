//! The facts of trees that stand for other machines, as goldens, and those of the machine that runs this.

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::{
    Bytes, Counted, Counts, Nodes, PageSize, Part, Request, cgroup_limit, pools, reserve, tightest,
};
use launcher::host::{self, HostFacts, links_from};
use numa::{
    Cgroup, CpuId, CpuSet, HostRoot, NodeId, PciNode, PciNodeSource, Tid, Topology, affinity,
    pci_locality, pci_node,
};

fn fixture(name: &str) -> HostRoot {
    HostRoot::new(
        Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("hosts")
            .join(name),
    )
}

fn facts(root: &HostRoot) -> HostFacts {
    let links = links_from(root).expect("links can be read");
    HostFacts::read(root, links).expect("facts can be read")
}

/// Every tree under `tests/hosts`.
fn fixtures() -> Vec<String> {
    let hosts = tests::project().join("tests/hosts");
    let mut names = numa::file::names(&hosts).expect("the trees");
    names.retain(|name| hosts.join(name).is_dir());
    names
}

#[test]
fn facts_of_each_fixture() {
    assert!(fixtures().len() >= 12);
    for name in fixtures() {
        let facts = facts(&fixture(&name));
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(
            serde_json::from_str::<HostFacts>(&json).unwrap(),
            facts,
            "{name}"
        );
        insta::assert_json_snapshot!(format!("facts-{name}"), facts);
        insta::assert_snapshot!(format!("text-{name}"), host::text(&facts));
    }
}

#[test]
fn topology_tells_nodes_cores_and_distances_apart() {
    let root = fixture("two-node");
    let topology = Topology::read(&root).unwrap();
    assert_eq!(topology.node_of(CpuId(12)), Some(NodeId(1)));
    assert_eq!(topology.node_of(CpuId(99)), None);
    assert_eq!(topology.siblings(CpuId(12)).unwrap().to_string(), "4,12");
    assert_eq!(topology.by_distance(NodeId(1)), [NodeId(1), NodeId(0)]);

    let topology = Topology::read(&fixture("smt-adjacent")).unwrap();
    assert_eq!(topology.siblings(CpuId(12)).unwrap().to_string(), "12-13");
    assert_eq!(topology.cluster_of(CpuId(12)).unwrap().to_string(), "12-15");

    // Two L3 caches a node.
    let topology = Topology::read(&fixture("epyc-nps4")).unwrap();
    assert_eq!(topology.l3_of(CpuId(25)).unwrap().to_string(), "8-9,24-25");
    assert_eq!(topology.packages.len(), 1);
}

#[test]
fn holes_in_node_numbers_and_offline_cpus() {
    let topology = Topology::read(&fixture("holes")).unwrap();
    assert_eq!(topology.offline.to_string(), "3,11,13");
    // The third number of a row is that of node 3.
    assert_eq!(topology.distance(NodeId(0), NodeId(3)), Some(31));
    assert_eq!(topology.distance(NodeId(0), NodeId(1)), None);
    let order = topology.by_distance(NodeId(3));
    assert_eq!(order, [NodeId(3), NodeId(2), NodeId(0)]);
    // Its sibling 13 is offline.
    assert_eq!(topology.siblings(CpuId(5)).unwrap().to_string(), "5");
    assert!(!topology.nodes[&NodeId(3)].has_memory());
    assert!(topology.nodes[&NodeId(3)].has_cpus());
    let both = topology.nodes_of(&"2,6".parse().unwrap());
    assert_eq!(both.to_string(), "0,3");
    assert_eq!(topology.cpus_of(&both).to_string(), "0-2,6-10,14-15");
}

#[test]
fn nodes_of_memory_alone_have_no_cpus() {
    let topology = Topology::read(&fixture("cxl")).unwrap();
    let without: Vec<_> = topology
        .nodes
        .iter()
        .filter(|(_, node)| !node.has_cpus())
        .collect();
    assert_eq!(without.len(), 2);
    assert!(without.iter().all(|(_, node)| node.has_memory()));
    let order = topology.by_distance(NodeId(1));
    assert_eq!(order, [NodeId(1), NodeId(3), NodeId(0), NodeId(2)]);
}

#[test]
fn more_than_1024_cpus() {
    let (_keep, root) = tests::hosts::sixteen_nodes().make();
    let facts = facts(&root);
    assert_eq!(facts.cpus.to_string(), "0-1279");
    let topology = &facts.topology;
    assert_eq!((topology.nodes.len(), topology.cores.len()), (16, 640));
    assert_eq!(topology.l3.len(), 16);
    assert_eq!(
        topology.siblings(CpuId(1279)).unwrap().to_string(),
        "639,1279"
    );
    assert_eq!(topology.node_of(CpuId(1030)), Some(NodeId(9)));
    let near: Vec<_> = topology
        .by_distance(NodeId(9))
        .into_iter()
        .map(|id| id.0)
        .collect();
    assert_eq!(near[..5], [9, 8, 10, 11, 0]);
    insta::assert_snapshot!("text-sixteen-nodes", host::text(&facts));
}

#[test]
fn a_device_tells_its_node_where_its_firmware_does() {
    let root = fixture("two-node");
    assert_eq!(pci_node(&root, "0000:82:02.1").unwrap(), Some(NodeId(1)));
    assert_eq!(pci_node(&root, "0000:00:1f.0").unwrap(), None);
    assert_eq!(pci_node(&root, "0000:ff:00.0").unwrap(), None);
    for address in ["../../../etc", "..", "0000:82:02.1/.."] {
        assert!(pci_node(&root, address).is_err(), "{address}");
    }
}

#[test]
fn a_device_without_a_node_is_looked_for_further_up() {
    let at = |host: &str, address| {
        let root = fixture(host);
        let topology = Topology::read(&root).unwrap();
        pci_locality(&root, address, &topology).unwrap()
    };
    let known = |node, by| PciNode::Known {
        node: NodeId(node),
        by,
    };
    for (host, address, expected) in [
        ("two-node", "0000:82:02.1", known(1, PciNodeSource::Device)),
        (
            "vf-no-node",
            "0000:17:02.0",
            known(0, PciNodeSource::Bridge("0000:16:02.0".into())),
        ),
        (
            "vf-no-node",
            "0000:65:02.0",
            known(1, PciNodeSource::PhysicalFunction("0000:65:00.0".into())),
        ),
        (
            "vf-no-node",
            "0000:b1:02.0",
            known(1, PciNodeSource::LocalCpus),
        ),
        ("vf-no-node", "0000:ca:02.0", PciNode::Untold),
        ("vf-no-node", "0000:17:03.0", PciNode::Absent),
        ("smt-off", "0000:17:02.0", known(0, PciNodeSource::OnlyNode)),
    ] {
        assert_eq!(at(host, address), expected, "{host} {address}");
    }
}

#[test]
fn huge_page_limits_come_from_the_control_group() {
    let limit = |host: &str, size| {
        let cgroup = Cgroup::read(&fixture(host)).unwrap();
        cgroup_limit(&cgroup, size)
            .unwrap()
            .map(|limit| limit.to_string())
    };
    assert_eq!(limit("two-node", PageSize::GIB_1).as_deref(), Some("4Gi"));
    assert_eq!(limit("two-node", PageSize::MIB_2).as_deref(), Some("0"));
    assert_eq!(
        limit("cgroup-v1", PageSize::MIB_2).as_deref(),
        Some("128Mi")
    );
    assert_eq!(limit("cgroup-v1", PageSize::GIB_1), None);
    assert_eq!(limit("laptop", PageSize::GIB_1), None);
}

#[test]
fn a_groups_limits_and_refusals_are_those_above_it_too() {
    let (_keep, root, path) = copy("epyc-nps4");
    let top = path.join("sys/fs/cgroup");
    let cgroup = Cgroup::read(&root).unwrap();
    let counts = || Counts::read(&root, &cgroup).unwrap();
    // The process's own group has no limit, the container's has.
    let told = tightest(&counts().limits, PageSize::GIB_1).unwrap().clone();
    assert_eq!(told.file, "/sys/fs/cgroup/hugetlb.1GB.max");
    assert_eq!((told.limit, told.pages_left()), (Bytes(8 << 30), 8));
    // One that is higher, and of which more is used, is tighter.
    for (file, text) in [
        ("vm/hugetlb.1GB.rsvd.max", "9663676416"),
        ("vm/hugetlb.1GB.rsvd.current", "7516192768"),
    ] {
        std::fs::write(top.join(file), text).unwrap();
    }
    let told = tightest(&counts().limits, PageSize::GIB_1).unwrap().clone();
    assert_eq!(told.file, "/sys/fs/cgroup/vm/hugetlb.1GB.rsvd.max");
    assert_eq!((told.of, told.pages_left()), (Counted::Reservations, 2));
    // `max` or 0 pages of the other size.
    assert_eq!(counts().limits.len(), 5);

    let hits = |counts: Counts| -> Vec<_> {
        let hit = counts.refusals.into_iter().filter(|it| it.count > 0);
        hit.map(|it| (it.file.to_string(), it.count)).collect()
    };
    assert_eq!(hits(counts()), []);
    std::fs::write(top.join("vm/hugetlb.1GB.events"), "max 3\n").unwrap();
    assert_eq!(
        hits(counts()),
        [("/sys/fs/cgroup/vm/hugetlb.1GB.events".to_owned(), 3)]
    );
    std::fs::write(top.join("vm/hugetlb.1GB.events"), "min 3\n").unwrap();
    let error = Counts::read(&root, &cgroup).unwrap_err().to_string();
    assert!(error.contains("how often the limit was hit"), "{error}");
}

#[test]
fn a_reservation_goes_to_the_nearest_nodes_that_have_enough() {
    let root = fixture("xeon-snc4");
    let facts = facts(&root);
    let near = facts.topology.by_distance(NodeId(5));
    let request = |pages| Request {
        size: PageSize::GIB_1,
        parts: vec![Part {
            pages,
            nodes: Nodes::AnyOf(near.clone()),
        }],
    };
    let given = |pages| {
        reserve(&request(pages), &facts.pools, &facts.hugetlb).map(|it| {
            it.by_node()
                .into_iter()
                .map(|(id, n)| (id.0, n))
                .collect::<Vec<_>>()
        })
    };
    // The VF's own node has one page left.
    assert_eq!(given(1).unwrap(), [(5, 1)]);
    assert_eq!(given(4).unwrap(), [(4, 4)]);
    assert_eq!(given(7).unwrap(), [(4, 4), (5, 1), (6, 2)]);
    assert_eq!(
        given(9).unwrap_err().to_string(),
        "`9` pages of `1Gi` are not to be had: `/sys/fs/cgroup/hugetlb.1GB.max` limits use to `8Gi`, of which `8Gi` are left; \
         `/sys/fs/cgroup/hugetlb.1GB.rsvd.max` limits reservations to `8Gi`, of which `8Gi` are left (free: node 0 `4` of \
         `4`, node 1 `4` of `4`, node 2 `4` of `4`, node 3 `4` of `4`, node 4 `4` of `4`, node 5 `1` of `4`, node 6 `4` of \
         `4`, node 7 `4` of `4`)"
    );
}

/// A copy of a fixture that a test may spoil; removed with its first part.
fn copy(name: &str) -> (tempfile::TempDir, HostRoot, Utf8PathBuf) {
    let directory = tempfile::tempdir().expect("this test needs a temporary directory");
    let path = Utf8PathBuf::from_path_buf(directory.path().join(name)).expect("its path is UTF-8");
    let from = fixture(name);
    let done = std::process::Command::new("cp")
        .args(["-a", from.path().as_str(), path.as_str()])
        .status()
        .expect("this test needs `cp`");
    assert!(done.success());
    (directory, HostRoot::new(path.clone()), path)
}

#[test]
fn missing_files_are_facts_too() {
    let (_keep, root, path) = copy("one-node");
    for gone in [
        "dev",
        "etc",
        "sys/fs",
        "sys/class",
        "proc/net",
        "proc/cpuinfo",
        "proc/self/environ",
        "proc/sys",
    ] {
        let gone = path.join(gone);
        let _ = std::fs::remove_dir_all(&gone).or_else(|_| std::fs::remove_file(&gone));
    }
    let facts = facts(&root);
    assert!(!facts.kvm && !facts.tun && !facts.vhost_net);
    assert_eq!(facts.memory_limit, None);
    assert_eq!(facts.hostname, "localhost");
    assert!(facts.links.is_empty() && facts.environment.is_empty());
    // The scheduler's list alone.
    assert_eq!(facts.cpus.to_string(), "2-3,10-11");
}

#[test]
fn without_cgroup_and_status_what_is_online_counts() {
    let (_keep, root, path) = copy("one-node");
    std::fs::remove_dir_all(path.join("proc/self")).unwrap();
    let facts = facts(&root);
    assert_eq!(
        (facts.cpus.len(), facts.mems.to_string()),
        (16, "0".to_owned())
    );
    std::fs::remove_dir_all(path.join("sys/devices")).unwrap();
    let error = HostFacts::read(&root, Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{path}` shows no CPU that this process may use")
    );
    assert!(error.hint().is_some());
}

#[test]
fn malformed_files_are_named() {
    for (file, content) in [
        ("sys/fs/cgroup/cpuset.cpus.effective", "two"),
        ("sys/fs/cgroup/memory.max", "2G"),
        ("proc/self/status", "Cpus_allowed_list:\t3-1\n"),
        ("proc/self/mountinfo", "nonsense"),
        ("proc/self/cgroup", "nonsense"),
        ("sys/devices/system/cpu/online", "all"),
        ("sys/devices/system/node/node0/distance", "10 21"),
        ("sys/devices/system/node/node0/distance", "near"),
        (
            "sys/devices/system/node/node0/meminfo",
            "Node 0 MemTotal: many kB",
        ),
        (
            "sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages",
            "-1",
        ),
        ("sys/fs/cgroup/hugetlb.2MB.max", "2M"),
        ("proc/net/route", "Iface\neth0 zz"),
        ("proc/net/fib_trie", "Main:\n |-- 1.2.3\n"),
        ("proc/net/if_inet6", "fe80 eth0\n"),
        ("sys/class/net/eth0/mtu", "many"),
        ("sys/class/net/eth0/flags", "up"),
    ] {
        let (_keep, root, path) = copy("one-node");
        let path = path.join(file);
        std::fs::write(&path, content).unwrap();
        let error = links_from(&root)
            .map_err(|error| error.to_string())
            .and_then(|links| HostFacts::read(&root, links).map_err(|error| error.to_string()))
            .unwrap_err();
        assert!(error.contains(path.as_str()), "{file}: {error}");
    }
}

#[test]
fn a_limit_above_the_own_group_counts() {
    let (_keep, root, path) = copy("laptop");
    assert_eq!(facts(&root).memory_limit, None);
    let slice = path.join("sys/fs/cgroup/user.slice");
    std::fs::write(slice.join("memory.max"), "1048576\n").unwrap();
    assert_eq!(facts(&root).memory_limit.unwrap().to_string(), "1Mi");
    std::fs::write(slice.join("user-1000.slice/memory.max"), "4096\n").unwrap();
    assert_eq!(facts(&root).memory_limit.unwrap().to_string(), "4Ki");
    // The lowest, not the nearest.
    std::fs::write(slice.join("user-1000.slice/memory.max"), "2097152\n").unwrap();
    assert_eq!(facts(&root).memory_limit.unwrap().to_string(), "1Mi");
}

#[test]
fn the_machine_that_runs_this() {
    let root = HostRoot::default();
    let facts = facts(&root);
    println!("{}", host::text(&facts));
    let mine = affinity::get(Tid::current()).unwrap();
    assert!(facts.cpus.is_subset(&mine), "{} {mine}", facts.cpus);
    assert!(!facts.mems.is_empty());
    assert!(!facts.hostname.is_empty());
    assert!(facts.links.iter().any(|link| link.name == "lo"));
    assert_eq!(
        facts.environment.get("PATH"),
        std::env::var("PATH").ok().as_ref()
    );

    let topology = Topology::read(&root).unwrap();
    assert!(facts.cpus.is_subset(&topology.cpus));
    let threads: CpuSet = topology.cores.iter().flat_map(CpuSet::iter).collect();
    assert_eq!(threads, topology.cpus);
    for pool in pools(&root).unwrap() {
        assert!(pool.free <= pool.pages, "{pool:?}");
    }
}

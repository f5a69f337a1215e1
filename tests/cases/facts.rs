//! The facts of trees that stand for other machines, as goldens, and those of the machine that runs this.

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::{PageSize, cgroup_limit, pools};
use launcher::host::{self, HostFacts, links_from};
use numa::{Cgroup, CpuId, CpuSet, HostRoot, NodeId, Tid, Topology, affinity, pci_node};

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

const FIXTURES: [&str; 4] = ["laptop", "one-node", "two-node", "cgroup-v1"];

#[test]
fn facts_of_each_fixture() {
    for name in FIXTURES {
        let facts = facts(&fixture(name));
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
fn two_nodes_tell_cores_and_distances_apart() {
    let root = fixture("two-node");
    let topology = Topology::read(&root).unwrap();
    assert_eq!(topology.node_of(CpuId(12)), Some(NodeId(1)));
    assert_eq!(topology.node_of(CpuId(99)), None);
    assert_eq!(topology.siblings(CpuId(12)).unwrap().to_string(), "4,12");
    assert_eq!(topology.by_distance(NodeId(1)), [NodeId(1), NodeId(0)]);
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

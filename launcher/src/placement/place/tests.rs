use hugepages::{Bytes, PageSize, Pool};
use numa::CpuSet;

use super::*;
use crate::placement::Binding;
use crate::placement::fixture::two_nodes;
use crate::plan::fixtures;

/// Two nodes of eight CPUs with four pages of 1Gi each, and a pod on some of the CPUs.
fn facts(cpus: &str) -> HostFacts {
    let pool = |node: u32| Pool {
        node: NodeId(node),
        size: PageSize::GIB_1,
        pages: 4,
        free: 4,
        surplus: 0,
        reserved_on_host: 0,
    };
    HostFacts {
        cpus: cpus.parse().unwrap(),
        mems: "0-1".parse().unwrap(),
        topology: two_nodes(),
        pools: vec![pool(0), pool(1)],
        ..fixtures::facts()
    }
}

/// The seed's third VM: three vCPUs, the emulator apart, four pages of 1Gi.
fn seed() -> Spec {
    let mut spec = fixtures::spec();
    spec.cpu.sockets = 3;
    spec.cpu.dedicated = true;
    spec.cpu.isolate_emulator = true;
    spec.memory.guest = Bytes(4 << 30);
    spec.memory.hugepages = Some(PageSize::GIB_1);
    spec
}

fn device(node: Option<u32>) -> DeviceFacts {
    DeviceFacts {
        name: "fast".to_owned(),
        path: "spec.domain.devices.interfaces[0].sriov".to_owned(),
        address: "0000:82:02.1".to_owned(),
        node: node.map(NodeId),
    }
}

fn cpus(placement: &Placement) -> String {
    let vcpus: Vec<&str> = placement
        .vcpus
        .iter()
        .map(|vcpu| vcpu.cpus.as_str())
        .collect();
    vcpus.join(" ")
}

fn said(violations: Vec<Violation>) -> Vec<String> {
    violations
        .into_iter()
        .map(|violation| violation.path)
        .collect()
}

#[test]
fn every_vcpu_may_run_wherever_the_pod_may() {
    let mut spec = fixtures::spec();
    spec.cpu.cores = 3;
    let placement = place(&spec, &fixtures::facts(), &[]).unwrap();
    assert_eq!(placement.vcpus.len(), 3);
    assert!(placement.vcpus.iter().all(|vcpu| vcpu.cpus == "0-3"));
    assert_eq!(placement.emulator, None);
    assert_eq!(placement.memory[0].host_node, None);
    assert_eq!(
        (placement.binding, placement.fill.len()),
        (Binding::None, 0)
    );
    assert!(placement.notes.is_empty() && !placement.dedicated);
}

#[test]
fn a_shortage_of_cpus_is_only_noted() {
    let mut spec = fixtures::spec();
    spec.cpu.sockets = 8;
    let placement = place(&spec, &fixtures::facts(), &[]).unwrap();
    assert_eq!(placement.notes, ["8 vCPUs share 4 CPUs"]);
}

#[test]
fn every_misfit_is_told_at_once() {
    let mut spec = fixtures::spec();
    spec.cpu.sockets = 256;
    spec.memory.guest = Bytes::GIB;
    spec.cpu.realtime = Some(CpuSet::from_iter([0]));
    let mut facts = fixtures::facts();
    facts.memory_limit = Bytes::mib(512);
    facts.cpus = CpuSet::new();
    facts.realtime = false;
    assert_eq!(
        said(place(&spec, &facts, &[]).unwrap_err()),
        [
            "spec.domain.cpu",
            "spec.domain.memory.guest",
            "spec.domain.cpu.realtime",
            "spec.domain.cpu"
        ]
    );
}

#[test]
fn the_limit_itself_still_fits() {
    let mut facts = fixtures::facts();
    facts.memory_limit = Some(fixtures::spec().memory.guest);
    assert!(place(&fixtures::spec(), &facts, &[]).is_ok());
}

#[test]
fn the_seeds_vm_is_near_its_device() {
    let facts = facts("0-1,4-5,8-9,12-13");
    let placement = place_near(&seed(), &facts, &[device(Some(1))]).unwrap();
    assert_eq!(cpus(&placement), "4 12 5");
    assert_eq!(placement.emulator.as_deref(), Some("13"));
    assert_eq!(placement.memory[0].host_node, Some(1));
    assert_eq!(placement.binding, Binding::Bind);
    assert_eq!(
        (placement.fill[0].host_node, placement.fill[0].cpus.as_str()),
        (Some(1), "4-5,12-13")
    );
    assert_eq!(placement.devices[0].host_node, Some(1));
    assert_eq!(placement.devices[0].guest_node, None);
    assert!(placement.notes.is_empty(), "{:?}", placement.notes);
    // KubeVirt's order has no eye for it, nor for where memory is.
    let mut spec = seed();
    spec.placement.policy = Policy::None;
    let placement = place_near(&spec, &facts, &[device(Some(1))]).unwrap();
    assert_eq!(cpus(&placement), "0 8 1");
    assert_eq!(placement.memory[0].host_node, None);
    assert_eq!(placement.fill[0].host_node, None);
}

#[test]
fn what_is_remote_is_said() {
    let facts = facts("0-1,8-9");
    let mut spec = seed();
    let placement = place_near(&spec, &facts, &[device(Some(1))]).unwrap();
    assert_eq!(placement.memory[0].host_node, Some(1));
    // The pod has no CPU there.
    assert_eq!(placement.fill[0].cpus, "0-1,8-9");
    assert_eq!(placement.notes.len(), 2, "{:?}", placement.notes);
    assert!(placement.notes[1].contains("memory-near"));
    spec.placement.memory = crate::spec::placing::MemoryNear::Cpus;
    let placement = place_near(&spec, &facts, &[device(Some(1))]).unwrap();
    assert_eq!(placement.memory[0].host_node, Some(0));
}

#[test]
fn strict_refuses_what_prefer_explains() {
    let mut spec = seed();
    spec.placement.policy = Policy::Strict;
    for (cpus, devices, path) in [
        (
            "0-1,8-9",
            vec![device(Some(1))],
            "spec.domain.cpu.dedicatedCpuPlacement",
        ),
        (
            "4-5,12-13",
            vec![device(None)],
            "spec.domain.devices.interfaces[0].sriov",
        ),
        (
            "4-5,12-13",
            vec![device(Some(1)), device(Some(0))],
            "spec.domain.devices.interfaces[0].sriov",
        ),
        // Siblings of strangers, and a pod that is on all CPUs.
        ("4-7", vec![], "spec.domain.cpu.dedicatedCpuPlacement"),
        ("0-15", vec![], "spec.domain.cpu.dedicatedCpuPlacement"),
    ] {
        let facts = facts(cpus);
        assert_eq!(
            said(place_near(&spec, &facts, &devices).unwrap_err()),
            [path],
            "{cpus}"
        );
    }
    let placement = place_near(&spec, &facts("0-1,4-5,8-9,12-13"), &[]).unwrap();
    assert_eq!(cpus(&placement), "0 8 1");
    assert_eq!(placement.memory[0].host_node, Some(0));
}

#[test]
fn pages_come_from_the_nearest_nodes_that_have_them() {
    let mut short = facts("4-5,12-13");
    short.pools[1].free = 3;
    let elsewhere = place(&seed(), &short, &[]).unwrap();
    assert_eq!(elsewhere.memory[0].host_node, Some(0));
    short.pools[0].free = 2;
    let both = place(&seed(), &short, &[]).unwrap();
    let rows: Vec<_> = both
        .memory
        .iter()
        .map(|row| (row.host_node, row.bytes >> 30))
        .collect();
    assert_eq!(rows, [(Some(1), 3), (Some(0), 1)]);
    assert_eq!(both.fill.len(), 2);
    short.pools[0].free = 0;
    assert_eq!(
        said(place(&seed(), &short, &[]).unwrap_err()),
        ["spec.domain.memory.hugepages.pageSize"]
    );
}

#[test]
fn a_guest_with_nodes_has_memory_with_its_cpus() {
    let mut spec = seed();
    spec.cpu.sockets = 4;
    spec.cpu.numa_passthrough = true;
    let placement = place_near(&spec, &facts("0,4-7"), &[device(Some(1))]).unwrap();
    assert_eq!(cpus(&placement), "4 5 6 7");
    let placement = place_near(&spec, &facts("0-1,4-6"), &[device(Some(1))]).unwrap();
    assert_eq!(cpus(&placement), "0 4 5 6");
    let nodes: Vec<_> = placement
        .guest_nodes
        .iter()
        .map(|node| node.vcpus.as_str())
        .collect();
    assert_eq!(nodes, ["0", "1-3"]);
    assert_eq!(placement.guest_nodes[0].distances, [10, 20]);
    let rows: Vec<_> = placement
        .memory
        .iter()
        .map(|row| (row.guest_node, row.host_node, row.bytes >> 30))
        .collect();
    assert_eq!(rows, [(0, Some(0), 2), (1, Some(1), 2)]);
    assert_eq!(placement.devices[0].guest_node, Some(1));
    assert_eq!(placement.emulator.as_deref(), Some("1"));
    // A device's node is a guest node even where others would be enough.
    let devices = [device(Some(0)), device(Some(1))];
    let placement = place_near(&spec, &facts("0-3,4-7"), &devices).unwrap();
    assert_eq!(cpus(&placement), "0 1 2 4");
}

#[test]
fn without_mbind_the_pods_own_cpus_place_memory() {
    let mut facts = facts("0-1,8-9");
    facts.mbind = false;
    let near = place(&seed(), &facts, &[]).unwrap();
    assert_eq!(
        (near.memory[0].host_node, near.binding),
        (Some(0), Binding::FirstTouch)
    );
    let far = place_near(&seed(), &facts, &[device(Some(1))]).unwrap();
    assert_eq!(far.memory[0].host_node, Some(0));
    assert!(
        far.notes
            .iter()
            .any(|note| note.contains("`mbind` is forbidden")),
        "{:?}",
        far.notes
    );
    // The pod can have no other memory: the kernel places it.
    facts.mems = "1".parse().unwrap();
    let only = place_near(&seed(), &facts, &[device(Some(1))]).unwrap();
    assert_eq!(only.memory[0].host_node, Some(1));
}

#[test]
fn without_mbind_ordinary_memory_is_where_its_vcpus_are() {
    let mut spec = seed();
    spec.memory.hugepages = None;
    let mut facts = facts("0-1,4-6");
    facts.mbind = false;
    let device = [device(Some(1))];
    let near = place_near(&spec, &facts, &device).unwrap();
    assert_eq!(cpus(&near), "4 5 6");
    assert_eq!(
        (near.memory[0].host_node, near.binding),
        (Some(1), Binding::FirstTouch)
    );
    // One of them is elsewhere, or they float over both nodes: what is promised would not hold.
    spec.cpu.sockets = 4;
    let told = |spec: &Spec| {
        let placement = place_near(spec, &facts, &device).unwrap();
        assert_eq!(placement.memory[0].host_node, None);
        placement.notes.join("\n")
    };
    assert!(
        told(&spec).contains("not every vCPU is on node 1"),
        "{}",
        told(&spec)
    );
    spec.cpu.sockets = 3;
    (spec.cpu.dedicated, spec.cpu.isolate_emulator) = (false, false);
    assert!(
        told(&spec).contains("not every vCPU is on node 1"),
        "{}",
        told(&spec)
    );
    let free = HostFacts {
        mbind: true,
        ..facts.clone()
    };
    let bound = place_near(&spec, &free, &device).unwrap();
    assert_eq!(bound.memory[0].host_node, Some(1));
}

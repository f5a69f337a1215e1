//! What holds for every placement there is.

use std::collections::BTreeMap;

use hugepages::PageSize;
use launcher::host::HostFacts;
use launcher::placement::{Placement, Policy};
use launcher::spec::Spec;
use numa::{CpuId, CpuSet, NodeId};

fn set(list: &str) -> CpuSet {
    list.parse().expect("a list of CPUs")
}

/// # Panics
/// Where something does not.
pub(crate) fn hold(spec: &Spec, facts: &HostFacts, placement: &Placement) {
    within_the_pod(facts, placement);
    memory_is_whole(spec, placement);
    if placement.dedicated {
        no_cpu_is_used_twice(spec, placement);
    }
    if placement.policy == Policy::Strict {
        nothing_crosses(spec, facts, placement);
    }
}

fn all(placement: &Placement) -> Vec<CpuSet> {
    let vcpus = placement.vcpus.iter().map(|vcpu| &vcpu.cpus);
    let threads = placement.iothreads.iter().map(|thread| &thread.cpus);
    let others = placement.emulator.iter().chain(threads);
    vcpus.chain(others).map(|list| set(list)).collect()
}

fn within_the_pod(facts: &HostFacts, placement: &Placement) {
    let fills = placement.fill.iter().map(|fill| set(&fill.cpus));
    for cpus in all(placement).into_iter().chain(fills) {
        assert!(
            !cpus.is_empty() && cpus.is_subset(&facts.cpus),
            "{cpus} outside {}",
            facts.cpus
        );
    }
    for node in placement.memory.iter().filter_map(|row| row.host_node) {
        assert!(facts.mems.contains(node), "{node} outside {}", facts.mems);
    }
}

fn no_cpu_is_used_twice(spec: &Spec, placement: &Placement) {
    let vcpus: Vec<CpuSet> = placement.vcpus.iter().map(|vcpu| set(&vcpu.cpus)).collect();
    assert!(vcpus.iter().all(|cpus| cpus.len() == 1));
    let mut taken: Vec<u32> = vcpus.iter().flat_map(CpuSet::iter).collect();
    if spec.iothreads.supplemental {
        let threads = placement.iothreads.iter().map(|thread| set(&thread.cpus));
        taken.extend(threads.flat_map(|cpus| cpus.iter().collect::<Vec<_>>()));
    } else if spec.cpu.isolate_emulator {
        for thread in &placement.iothreads {
            assert_eq!(Some(&thread.cpus), placement.emulator.as_ref());
        }
    }
    if let Some(cpus) = &placement.emulator {
        taken.extend(set(cpus).iter());
    }
    assert_eq!(spec.cpu.isolate_emulator, placement.emulator.is_some());
    let distinct: CpuSet = taken.iter().copied().collect();
    assert_eq!(distinct.len(), taken.len(), "{taken:?}");
}

fn memory_is_whole(spec: &Spec, placement: &Placement) {
    let mut by_guest_node: BTreeMap<u32, u64> = BTreeMap::new();
    for row in &placement.memory {
        *by_guest_node.entry(row.guest_node).or_default() += row.bytes;
        let size = row
            .page_size
            .as_ref()
            .map(|size| size.parse::<PageSize>().expect("a size"));
        assert_eq!(size, spec.memory.hugepages);
        if let Some(size) = size {
            assert!(row.bytes > 0 && row.bytes % size.0.0 == 0, "{row:?}");
        }
    }
    assert_eq!(by_guest_node.values().sum::<u64>(), spec.memory.guest.0);
    if placement.guest_nodes.is_empty() {
        assert_eq!(by_guest_node.len(), 1);
        return;
    }
    assert_eq!(by_guest_node.len(), placement.guest_nodes.len());
    let (least, most) = (by_guest_node.values().min(), by_guest_node.values().max());
    let spread = most.zip(least).map(|(most, least)| most - least);
    let page = spec.memory.hugepages.map_or(0, |size| size.0.0);
    assert!(spread <= Some(page), "{by_guest_node:?}");
    let vcpus: Vec<u32> = placement
        .guest_nodes
        .iter()
        .flat_map(|node| set(&node.vcpus).iter().collect::<Vec<_>>())
        .collect();
    let distinct: CpuSet = vcpus.iter().copied().collect();
    assert_eq!(
        (distinct, vcpus.len()),
        ((0..spec.cpu.vcpus()).collect(), placement.vcpus.len())
    );
}

/// Under `strict`: one node, or whole guest cores on one node each; no sibling of anybody else's.
fn nothing_crosses(spec: &Spec, facts: &HostFacts, placement: &Placement) {
    let topology = &facts.topology;
    let node = |cpu: u32| topology.node_of(CpuId(cpu));
    let used: CpuSet = all(placement).iter().flat_map(CpuSet::iter).collect();
    for cpu in used.iter().filter(|_| spec.cpu.isolate_emulator) {
        let core = topology.siblings(CpuId(cpu)).expect("a core");
        assert!(core.is_subset(&facts.cpus), "{cpu} shares {core}");
    }
    let mut nodes: Vec<Option<NodeId>> = used.iter().map(node).collect();
    nodes.dedup();
    nodes.sort_unstable();
    nodes.dedup();
    if spec.cpu.numa_passthrough {
        let vcpus: Vec<u32> = placement
            .vcpus
            .iter()
            .flat_map(|vcpu| set(&vcpu.cpus).first())
            .collect();
        for core in vcpus.chunks(spec.cpu.threads as usize) {
            assert!(
                core.iter().all(|cpu| node(*cpu) == node(core[0])),
                "{core:?}"
            );
        }
        for (cells, vcpus) in placement.guest_nodes.iter().zip(&placement.memory) {
            let first = set(&cells.vcpus).first().expect("a vCPU") as usize;
            let cpu = set(&placement.vcpus[first].cpus).first().expect("a CPU");
            assert_eq!(node(cpu).map(|node| node.0), vcpus.host_node);
        }
        for device in &placement.devices {
            assert!(device.guest_node.is_some(), "{device:?}");
        }
    } else if spec.cpu.dedicated {
        assert_eq!(nodes.len(), 1, "{nodes:?}");
        let home = nodes[0].map(|node| node.0);
        assert!(placement.memory.iter().all(|row| row.host_node == home));
        assert!(
            placement
                .devices
                .iter()
                .all(|device| device.host_node == home)
        );
    }
}

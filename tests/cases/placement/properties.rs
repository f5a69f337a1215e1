//! What holds on any host, for any VM.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use hugepages::{Bytes, PageSize, Pool};
use launcher::host::HostFacts;
use launcher::placement::Policy;
use launcher::placement::devices::DeviceFacts;
use launcher::placement::place::place_near;
use launcher::spec::Spec;
use launcher::vmi;
use numa::{CpuId, CpuSet, Kib, Node, NodeId, NodeMemory, Topology};
use proptest::prelude::*;

use super::{host, invariants};

/// What these hosts have besides CPUs and memory.
static HOST: LazyLock<HostFacts> = LazyLock::new(|| host("two-node").0);

/// Nodes of cores of one or two threads, numbered as the kernel does on x86 (second threads last) or in ARM's way.
#[derive(Debug, Clone)]
struct Machine {
    nodes: u32,
    cores: u32,
    threads: u32,
    adjacent: bool,
    /// Distances between nodes, in no order.
    far: Vec<u32>,
}

impl Machine {
    fn cpus(&self) -> u32 {
        self.nodes * self.cores * self.threads
    }

    fn topology(&self) -> Topology {
        let all = self.nodes * self.cores;
        let core = |core: u32| -> CpuSet {
            let threads = 0..self.threads;
            threads
                .map(|thread| match self.adjacent {
                    true => core * self.threads + thread,
                    false => core + thread * all,
                })
                .collect()
        };
        let cores: Vec<CpuSet> = (0..all).map(core).collect();
        let node = |id: u32| Node {
            cpus: (id * self.cores..(id + 1) * self.cores)
                .flat_map(|core| cores[core as usize].iter())
                .collect(),
            distances: (0..self.nodes)
                .map(|to| {
                    (
                        NodeId(to),
                        if to == id { 10 } else { self.distance(id, to) },
                    )
                })
                .collect(),
            memory: NodeMemory {
                total: Kib(1 << 30),
                free: Kib(1 << 30),
            },
        };
        Topology {
            nodes: (0..self.nodes).map(|id| (NodeId(id), node(id))).collect(),
            cpus: (0..self.cpus()).collect(),
            cores,
            ..Topology::default()
        }
    }

    fn distance(&self, one: u32, other: u32) -> u32 {
        let pair = one.min(other) * self.nodes + one.max(other);
        11 + self.far[pair as usize % self.far.len()]
    }
}

fn machine(threads: RangeInclusive<u32>) -> impl Strategy<Value = Machine> {
    let far = proptest::collection::vec(0_u32..30, 8);
    (1_u32..5, 1_u32..7, threads, any::<bool>(), far).prop_map(
        |(nodes, cores, threads, adjacent, far)| Machine {
            nodes,
            cores,
            threads,
            adjacent,
            far,
        },
    )
}

/// A machine, CPUs of a pod on it, and the free pages of its nodes. Half of the pods are on some of the nodes alone, most
/// CPUs of which they have.
fn pod(threads: RangeInclusive<u32>) -> impl Strategy<Value = (Machine, CpuSet, Vec<u64>)> {
    machine(threads).prop_flat_map(|machine| {
        let cpus = machine.cpus();
        let some = proptest::collection::btree_set(0..cpus, 1..=cpus as usize);
        let on = proptest::collection::btree_set(0..machine.nodes, 1..=machine.nodes as usize);
        let topology = machine.topology();
        let near = (some.clone(), on).prop_map(move |(less, on)| {
            let nodes = on
                .into_iter()
                .map(|node| &topology.nodes[&NodeId(node)].cpus);
            let there: CpuSet = nodes.flat_map(CpuSet::iter).collect();
            let few: CpuSet = less.into_iter().take(3).collect();
            match there.difference(&few) {
                left if left.is_empty() => there,
                left => left,
            }
        });
        let pages = proptest::collection::vec(0_u64..8, machine.nodes as usize);
        let chosen = prop_oneof![some.prop_map(CpuSet::from_iter), near];
        (Just(machine), chosen, pages)
    })
}

/// Whole cores of the machine.
fn whole_cores(threads: RangeInclusive<u32>) -> impl Strategy<Value = (Machine, CpuSet, Vec<u64>)> {
    pod(threads).prop_map(|(machine, some, pages)| {
        let topology = machine.topology();
        let whole = some.iter().filter_map(|cpu| topology.siblings(CpuId(cpu)));
        let whole = whole.flat_map(CpuSet::iter).collect();
        (machine, whole, pages)
    })
}

fn facts((machine, cpus, pages): (Machine, CpuSet, Vec<u64>)) -> HostFacts {
    let pool = |(node, free): (u32, u64)| Pool {
        node: NodeId(node),
        size: PageSize::GIB_1,
        pages: 8,
        free,
        surplus: 0,
        reserved_on_host: 0,
    };
    HostFacts {
        cpus,
        mems: (0..machine.nodes).collect(),
        topology: machine.topology(),
        pools: (0..).zip(pages).map(pool).collect(),
        hugetlb: Vec::new(),
        disagreements: Vec::new(),
        memory_limit: None,
        mbind: true,
        realtime: true,
        ..HOST.clone()
    }
}

fn base() -> Spec {
    let text = "{\"apiVersion\": \"kubevirt.io/v1\", \"kind\": \"VirtualMachineInstance\", \"metadata\": {\"name\": \"vm\"}, \"spec\": {\"domain\": {\"memory\": {\"guest\": \"1Gi\"}}}}";
    Spec::from_vmi(&vmi::read(text).expect("a VMI"))
        .expect("a VMI")
        .0
}

fn spec() -> impl Strategy<Value = Spec> {
    let policy = prop_oneof![
        Just(Policy::None),
        Just(Policy::Prefer),
        Just(Policy::Strict)
    ];
    let flags = proptest::array::uniform5(any::<bool>());
    (
        1_u32..5,
        1_u32..3,
        1_u32..3,
        0_u32..3,
        1_u64..9,
        policy,
        flags,
    )
        .prop_map(
            |(
                cores,
                sockets,
                threads,
                iothreads,
                pages,
                policy,
                [isolate, even, numa, huge, pool],
            )| {
                let mut spec = base();
                spec.cpu.cores = cores;
                spec.cpu.sockets = sockets;
                spec.cpu.threads = threads;
                spec.cpu.dedicated = true;
                spec.cpu.isolate_emulator = isolate;
                spec.cpu.even_parity = even;
                spec.cpu.numa_passthrough = numa && huge;
                spec.memory.hugepages = huge.then_some(PageSize::GIB_1);
                spec.memory.guest = Bytes(pages << 30);
                spec.iothreads.count = iothreads;
                spec.iothreads.supplemental = pool && iothreads > 0;
                spec.placement.policy = policy;
                spec
            },
        )
}

fn devices(nodes: &[u32], machine: &Machine) -> Vec<DeviceFacts> {
    let device = |node: &u32| DeviceFacts {
        name: format!("vf{node}"),
        path: "spec".to_owned(),
        address: format!("0000:{node:02x}:00.0"),
        node: Some(NodeId(node % machine.nodes)),
    };
    nodes.iter().map(device).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_placement_holds(pod in pod(1..=2), spec in spec(), on in proptest::collection::vec(0_u32..4, 0..3)) {
        let devices = devices(&on, &pod.0);
        let facts = facts(pod);
        if let Ok(placement) = place_near(&spec, &facts, &devices) {
            invariants::hold(&spec, &facts, &placement);
        }
    }

    /// CPUs alone: no node is short of pages.
    #[test]
    fn more_cpus_never_take_a_place_away(
        pod in whole_cores(1..=2), more in whole_cores(1..=2), mut spec in spec(), on in proptest::collection::vec(0_u32..4, 0..3)
    ) {
        if spec.placement.policy == Policy::Strict {
            spec.placement.policy = Policy::Prefer;
        }
        spec.cpu.numa_passthrough = spec.memory.hugepages.is_some();
        // Only CPUs are to be short.
        let machine = pod.0.clone();
        let pages = vec![1_000; machine.nodes as usize];
        spec.memory.guest = Bytes(16 << 30);
        let online: CpuSet = (0..machine.cpus()).collect();
        let larger = pod.1.union(&more.1.intersection(&online));
        let devices = devices(&on, &machine);
        let small = place_near(&spec, &facts((machine.clone(), pod.1.clone(), pages.clone())), &devices);
        let large = place_near(&spec, &facts((machine, larger, pages)), &devices);
        prop_assert!(small.is_err() || large.is_ok(), "{:?}", large.err());
    }

    #[test]
    fn on_whole_cores_siblings_stay_together(pod in whole_cores(2..=2), mut spec in spec(), on in proptest::collection::vec(0_u32..4, 0..3)) {
        spec.cpu.threads = 2;
        let devices = devices(&on, &pod.0);
        let facts = facts(pod);
        if let Ok(placement) = place_near(&spec, &facts, &devices) {
            for core in placement.vcpus.chunks(2) {
                let both: CpuSet = core.iter().map(|vcpu| vcpu.cpus.parse::<u32>().expect("one CPU")).collect();
                prop_assert_eq!(facts.topology.siblings(CpuId(both.first().expect("a CPU"))), Some(&both));
            }
        }
    }

    /// As long as device nodes have CPUs, none of another node is taken before them.
    #[test]
    fn devices_come_first(pod in whole_cores(1..=2), mut spec in spec(), on in 0_u32..4) {
        spec.placement.policy = Policy::Prefer;
        spec.memory.hugepages = None;
        spec.cpu.numa_passthrough = false;
        let devices = devices(&[on], &pod.0);
        let facts = facts(pod);
        let Ok(placement) = place_near(&spec, &facts, &devices) else { return Ok(()) };
        let there = &facts.topology.nodes[&devices[0].node.expect("a node")].cpus;
        let own = there.intersection(&facts.cpus).len() / spec.cpu.threads as usize * spec.cpu.threads as usize;
        let near = placement.vcpus.iter().filter(|vcpu| there.contains(vcpu.cpus.parse().expect("one CPU"))).count();
        prop_assert!(near >= own.min(placement.vcpus.len()), "{near} of {own}");
    }
}

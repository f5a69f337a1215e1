use super::*;
use crate::placement::fixture::two_nodes;
use crate::plan::fixtures;

fn facts(cpus: &str) -> HostFacts {
    HostFacts {
        cpus: cpus.parse().unwrap(),
        topology: two_nodes(),
        ..fixtures::facts()
    }
}

/// vCPUs as cores and threads, the emulator apart.
fn spec(cores: u32, threads: u32) -> Spec {
    let mut spec = fixtures::spec();
    spec.cpu.cores = cores;
    spec.cpu.threads = threads;
    spec.cpu.dedicated = true;
    spec.cpu.isolate_emulator = true;
    spec
}

#[test]
fn parity_is_counted_once() {
    let mut spec = spec(3, 1);
    spec.cpu.even_parity = true;
    spec.iothreads.supplemental = true;
    for (threads, emulator) in [(0, 1), (1, 2), (2, 1)] {
        spec.iothreads.count = threads;
        let placed = pins(&spec, &facts("0-3,8-11"), &[]).unwrap();
        assert_eq!(placed.emulator.len(), emulator, "{threads}");
        assert_eq!(placed.supplemental.len(), usize::try_from(threads).unwrap());
    }
    // What KubeVirt's pod is given for 3 vCPUs and 1 thread (facts 5.2) is one CPU short of even.
    spec.iothreads.count = 1;
    let short = pins(&spec, &facts("0-3,8"), &[]).unwrap();
    assert_eq!((short.emulator.len(), short.notes.len()), (1, 1));
}

#[test]
fn the_emulator_is_near_its_vcpus_unless_kubevirts_order_is_wanted() {
    // A fragment on node 0 comes first in KubeVirt's order, vCPUs are on node 1.
    let mut spec = spec(1, 2);
    let facts = facts("0,4-5,12-13");
    assert_eq!(pins(&spec, &facts, &[]).unwrap().vcpus, [4, 12]);
    assert_eq!(pins(&spec, &facts, &[]).unwrap().emulator, [5]);
    spec.placement.policy = Policy::None;
    assert_eq!(pins(&spec, &facts, &[]).unwrap().emulator, [0]);
}

#[test]
fn who_lacks_a_cpu_is_named() {
    let mut spec = spec(2, 2);
    spec.iothreads.supplemental = true;
    spec.iothreads.count = 1;
    for (cpus, who) in [
        ("0-2", Wants::Vcpus),
        ("0-3", Wants::Iothreads),
        ("0-4", Wants::Emulator),
    ] {
        let misfits = pins(&spec, &facts(cpus), &[]).unwrap_err();
        assert!(
            matches!(&misfits[..], [Misfit::Cpus { of, wanted: 6, .. }] if *of == who),
            "{misfits:?}"
        );
    }
    assert!(pins(&spec, &facts("0-5"), &[]).is_ok());
}

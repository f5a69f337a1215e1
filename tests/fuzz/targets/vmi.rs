//! A VMI, from its text to a plan for a host of two nodes: refused, or a plan that can be written and read again.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use launcher::host::{self, HostFacts};
use launcher::machine::board::Accel;
use launcher::plan::{LaunchPlan, Options};
use launcher::pod::PodPaths;
use launcher::spec::Spec;
use launcher::vmi;
use libfuzzer_sys::fuzz_target;
use numa::HostRoot;

static HOST: LazyLock<HostFacts> = LazyLock::new(|| {
    let root = HostRoot::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../hosts/two-node"));
    let links = host::links_from(&root).expect("the host's links");
    HostFacts::read(&root, links).expect("the host's facts")
});

fuzz_target!(|text: &str| {
    let Ok((spec, _)) = vmi::read(text).and_then(|document| Spec::from_vmi(&document)) else {
        return;
    };
    let options = Options {
        accel: Accel::Kvm,
        qemu: "qemu-system-x86_64".into(),
        paths: PodPaths::default(),
        kernel_boot_dir: None,
        disk_paths: BTreeMap::new(),
    };
    let Ok(plan) = LaunchPlan::new(&spec, &HOST, &BTreeMap::new(), &options) else {
        return;
    };
    let _for_people = launcher::plan::text(&plan);
    let written = serde_json::to_string(&plan).expect("a plan is JSON");
    let read: LaunchPlan = serde_json::from_str(&written).expect("a plan can be read");
    assert_eq!(serde_json::to_string(&read).expect("JSON"), written);
});

//! Placement as a table: every VMI of `vmis/` on every host of `tests/hosts`, a golden a host; and what holds for all.

mod invariants;
mod properties;
mod rows;

use camino::Utf8Path;
use launcher::host::{HostFacts, links_from};
use launcher::placement::devices::DeviceFacts;
use launcher::spec::Spec;
use launcher::vmi;
use numa::HostRoot;

/// The facts of a host, and the devices that its pod was given.
fn host(name: &str) -> (HostFacts, Vec<DeviceFacts>) {
    let root = HostRoot::new(
        Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("hosts")
            .join(name),
    );
    let facts = HostFacts::read(&root, links_from(&root).expect("links")).expect("facts");
    let devices = (0..)
        .zip(facts.pci.values())
        .map(|(index, device): (u32, _)| DeviceFacts {
            name: format!("vf{index}"),
            path: format!("spec.domain.devices.interfaces[{index}].sriov"),
            address: device.address.to_string(),
            node: device.node,
        });
    let devices = devices.collect();
    (facts, devices)
}

fn spec(path: &std::path::Path) -> Spec {
    let text = std::fs::read_to_string(path).expect("a VMI");
    let document = vmi::read(&text).expect("a VMI");
    match Spec::from_vmi(&document) {
        Ok((spec, _)) => spec,
        Err(refusal) => panic!("{}: {refusal}", path.display()),
    }
}

/// Directories of `cases/placement/vmis` and `hosts`, by name.
fn names(below: &str) -> Vec<String> {
    let directory = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let entries = directory.read_dir_utf8().expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_owned())
        .filter(|name| !name.ends_with(".md"))
        .collect();
    names.sort();
    names
}

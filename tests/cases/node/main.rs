//! Cases that run inside an emulated node (`tests::node`), one file a subject. All that need the same node share a boot.

use std::process::ExitCode;

use tests::node::Case;

mod clock;
mod deaths;
mod facts;
mod forwarder;
mod held_back;
mod iommufd;
mod masquerade;
mod memory;
mod older;
mod placed;
mod pods;
mod shapes;
mod sriov;
mod sriov_cells;
mod sriov_near;
mod sriov_refused;
mod sriov_removed;
mod third_vmi;
mod told;
mod vf_bridged;
mod vlan;

/// In the order in which they run.
const CASES: &[&[Case]] = &[
    facts::CASES,
    pods::CASES,
    sriov::CASES,
    sriov_cells::CASES,
    sriov_near::CASES,
    forwarder::CASES,
    sriov_refused::CASES,
    sriov_removed::CASES,
    placed::CASES,
    memory::CASES,
    masquerade::CASES,
    vf_bridged::CASES,
    vlan::CASES,
    clock::CASES,
    deaths::CASES,
    shapes::CASES,
    iommufd::CASES,
    older::CASES,
];

fn main() -> ExitCode {
    tests::node::suite::main(&CASES.concat())
}

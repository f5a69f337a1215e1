//! The machines.

mod distances;
mod lacking;
mod siblings;

pub use distances::{a_thousand_cpus, sixteen_nodes};

use super::{Cores, Device, Host, Kind, Node, Siblings};
use distances::{cxl, epyc_nps4, xeon_snc4};
use lacking::{no_1gi_on_node_1, vf_no_node};
use siblings::{holes, smt_adjacent, smt_off};

/// Those that are kept under `tests/hosts`.
pub fn kept() -> Vec<Host> {
    vec![
        smt_off(),
        smt_adjacent(),
        holes(),
        epyc_nps4(),
        xeon_snc4(),
        cxl(),
        no_1gi_on_node_1(),
        vf_no_node(),
    ]
}

const XEON: (&str, &str) = ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8480+");
const EPYC: (&str, &str) = ("AuthenticAMD", "AMD EPYC 7763 64-Core Processor");

/// Cores without clusters.
fn cores(count: u32, siblings: Siblings, l3: u32, package: u32) -> Cores {
    Cores {
        count,
        threads: 2,
        siblings,
        cluster: None,
        l3,
        package,
    }
}

/// A node with a few pages of 2Mi.
fn node(id: u32, cores: std::ops::Range<u32>, gib: u64, large: [u64; 3]) -> Node {
    Node {
        id,
        cores,
        gib,
        small: [512, 512, 0],
        large: Some(large),
    }
}

fn rows(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

/// A NIC behind a bridge, with its node on the node told by all three.
fn nic(node: i32, local: &'static str, paths: [&'static str; 3], group: u32) -> [Device; 3] {
    let [bridge, physical, virtual_] = paths;
    let device = |path, kind| Device {
        path,
        node,
        local: Some(local),
        kind,
    };
    [
        device(bridge, Kind::Bridge),
        device(physical, Kind::Physical),
        device(virtual_, Kind::Virtual { group }),
    ]
}

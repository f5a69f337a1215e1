//! `bench-node`: regular, faster and really fast side by side, as the seed has them. Four guests run in the emulated node,
//! each on one kind of network; what they send to the same host outside, through NICs of one kind, is measured in turns.
//!
//! All of it is emulation within emulation, so figures mean nothing: what is told are ratios to the regular network's of
//! the same round. `target/bench/networks.json` has them, and `networks.svg` beside it shows them.

mod guests;
mod measure;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use tests::node::shape::{Cell, Iommu, Kernel, Nic, Shape};
use tests::node::{Case, inside, suite};

/// One socket, no pages: nothing here is about places.
const SHAPE: Shape = Shape {
    name: "networks",
    cells: &[Cell {
        cpus: 4,
        memory: 6,
        huge_1g: 0,
        huge_2m: 0,
    }],
    threads: 1,
    // One for passthrough and one like it for all others: an emulated igb with VFs lets no broadcast of theirs in.
    nics: &[
        Nic {
            cell: 0,
            vfs: 1,
            acs: true,
        },
        Nic {
            cell: 0,
            vfs: 0,
            acs: true,
        },
    ],
    iommu: Iommu::Intel {
        interrupt_remapping: true,
    },
    iommufd: false,
    kernel: Kernel::Current,
};

const CASES: &[Case] = &[Case {
    name: "networks",
    shape: &SHAPE,
    run: side_by_side,
}];

/// Four guests boot in two minutes; a round takes half a minute when nothing else runs.
const LIMIT: Duration = Duration::from_secs(1800);
const ROUNDS: usize = 5;
/// In the directory of results.
const MEASURED: &str = "networks.json";

fn main() -> ExitCode {
    let code = suite::main_within(CASES, LIMIT);
    let outside = std::env::args().len() == 1;
    if !outside || code != ExitCode::SUCCESS {
        return code;
    }
    let measured = tests::node::machine::results(&SHAPE).join(MEASURED);
    match report::tell(&measured) {
        Ok(()) => code,
        Err(error) => {
            report::fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// In the node.
fn side_by_side() -> Result<()> {
    let wire = guests::Wire::ready()?;
    let mut guests = guests::start(&wire)?;
    let measured = measure::rounds(&mut guests, ROUNDS)?;
    let path = format!("{}/{MEASURED}", inside::RESULTS);
    std::fs::write(path, serde_json::to_string_pretty(&measured)?)?;
    for guest in guests {
        guest.end()?;
    }
    drop(wire);
    Ok(())
}

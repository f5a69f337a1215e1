//! `hold_pools DIRECTORY SIZE PAGES`: grows node 0's pool, says so, and holds it until its standard input ends.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result};
use hugepages::{Growth, grow};
use numa::{HostRoot, NodeId};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that a test reads"
)]
fn main() -> ExitCode {
    match hold(|text| println!("{text}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn hold(say: impl Fn(&str)) -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || {
        args.next()
            .context("usage: hold_pools DIRECTORY SIZE PAGES")
    };
    let directory = next()?;
    let growth = Growth {
        node: NodeId(0),
        size: next()?.parse()?,
        pages: next()?.parse()?,
    };
    let grown = grow(&HostRoot::default(), directory.as_str().into(), &[growth])?;
    say("grown");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    grown.shrink()?;
    Ok(())
}

//! The runner: a test program of its own (`harness = false`), on the machine and in the node.
//!
//! | Arguments | |
//! |---|---|
//! | `--list` | one test a shape, as nextest asks |
//! | `--exact SHAPE` | boots it and runs all its cases |
//! | `WORD...` | the cases whose names contain a word |
//! | none | every case |
//! | `--shell [SHAPE]` | a prompt on a node |
//! | `--in-node`, `--case NAME` | the node's side |

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use camino::Utf8PathBuf;

use super::machine::{self, Node, tail};
use super::{Case, Shape, inside, say};
use crate::{binary, need};

/// What one case may take by itself; the node kills it then. A guest that boots under KVM in emulation takes 15 s.
pub const CASE: Duration = Duration::from_secs(240);
/// Lines of a failed case's log that are shown.
const SHOWN: usize = 60;

/// The test program's `main`.
pub fn main(cases: &[Case]) -> ExitCode {
    main_within(cases, CASE)
}

/// As [`main`], where one case may take so long.
pub fn main_within(cases: &[Case], limit: Duration) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(cases, &args, limit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cases: &[Case], args: &[String], limit: Duration) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--in-node"] => return inside::run(limit),
        ["--case", name] => {
            super::log(&format!("case {name}"));
            return (find(cases, name)?.run)();
        }
        ["--shell"] => return machine::shell(&super::shape::DEFAULT),
        ["--shell", name] => return machine::shell(shape(cases, name)?),
        _ => {}
    }
    if args.contains(&"--list") {
        if !args.contains(&"--ignored") {
            list(cases);
        }
        return Ok(());
    }
    let words: Vec<&str> = args
        .iter()
        .copied()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let chosen: Vec<&Case> = if args.contains(&"--exact") {
        cases
            .iter()
            .filter(|case| words.contains(&case.shape.name))
            .collect()
    } else {
        let named =
            |case: &&Case| words.is_empty() || words.iter().any(|word| case.name.contains(word));
        cases.iter().filter(named).collect()
    };
    ensure!(
        !chosen.is_empty(),
        "no case is called like {words:?}; there are: {}",
        names(cases)
    );
    let mut failed = Vec::new();
    for shape in shapes(&chosen) {
        let of_shape: Vec<&Case> = chosen
            .iter()
            .copied()
            .filter(|case| case.shape.name == shape.name)
            .collect();
        failed.extend(run(shape, &of_shape, limit)?);
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "nextest reads the list there")]
fn list(cases: &[Case]) {
    for shape in shapes(&cases.iter().collect::<Vec<_>>()) {
        println!("{}: test", shape.name);
    }
}

fn names(cases: &[Case]) -> String {
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    names.join(", ")
}

fn find<'a>(cases: &'a [Case], name: &str) -> Result<&'a Case> {
    let found = cases.iter().find(|case| case.name == name);
    found.with_context(|| format!("no case `{name}`"))
}

fn shape(cases: &[Case], name: &str) -> Result<&'static Shape> {
    let found = cases.iter().find(|case| case.shape.name == name);
    Ok(found.with_context(|| format!("no shape `{name}`"))?.shape)
}

fn shapes(cases: &[&Case]) -> Vec<&'static Shape> {
    let mut shapes: Vec<&'static Shape> = Vec::new();
    for case in cases {
        if !shapes.iter().any(|shape| shape.name == case.shape.name) {
            shapes.push(case.shape);
        }
    }
    shapes
}

/// Boots one node and follows its cases; the names of those that did not pass.
fn run(shape: &Shape, cases: &[&Case], limit: Duration) -> Result<Vec<&'static str>> {
    need::root();
    crate::guest::generic_boot_dir();
    binary::virt_launcher();
    let results = machine::results(shape);
    if results.exists() {
        fs::remove_dir_all(&results)?;
    }
    fs::create_dir_all(&results)?;
    let listing: Vec<_> = cases.iter().map(|case| case.name).collect();
    fs::write(results.join("cases"), listing.join("\n"))?;
    let this = Utf8PathBuf::try_from(std::env::current_exe()?)?;
    let started = Instant::now();
    let mut node = machine::boot(shape, &this)?;
    say(&format!(
        "{}: up after {:.1} s",
        shape.name,
        started.elapsed().as_secs_f64()
    ));
    let mut failed = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        match follow(&mut node, case, limit) {
            Ok(Verdict::Passed(told)) => say(&format!("{}: PASS {} {told}", shape.name, case.name)),
            Ok(Verdict::Failed(told)) => {
                failed.push(case.name);
                let log = results.join(format!("{}.log", case.name));
                say(&format!(
                    "{}: FAIL {} {told}\n{}\n  (all of it: {log})",
                    shape.name,
                    case.name,
                    tail(&log, SHOWN)
                ));
            }
            // The node itself is lost: so are the cases that are left.
            Err(error) => {
                failed.extend(cases[index..].iter().map(|case| case.name));
                say(&format!(
                    "{}: FAIL {} and what would come after it: the node is gone: {error:#}\n{}",
                    shape.name,
                    case.name,
                    tail(&results.join("console.log"), SHOWN)
                ));
                return Ok(failed);
            }
        }
    }
    node.qemu.wait_for("node: off", Duration::from_secs(60))?;
    let status = node.qemu.finish(Duration::from_secs(60))?;
    ensure!(status.success(), "the node's QEMU ended: {status}");
    say(&format!(
        "{}: done after {:.1} s",
        shape.name,
        started.elapsed().as_secs_f64()
    ));
    Ok(failed)
}

enum Verdict {
    Passed(String),
    Failed(String),
}

/// `node: case NAME passed|failed ...`, told by [`inside`].
fn follow(node: &mut Node, case: &Case, limit: Duration) -> Result<Verdict> {
    let prefix = format!("node: case {} ", case.name);
    let line = node
        .qemu
        .wait_for(&prefix, limit + Duration::from_secs(60))?;
    let told = line.split_once(&prefix).map_or("", |(_, told)| told);
    match told.split_once(' ').unwrap_or((told, "")) {
        ("passed", rest) => Ok(Verdict::Passed(rest.to_owned())),
        ("failed", rest) => Ok(Verdict::Failed(rest.to_owned())),
        _ => bail!("the node told `{line}`"),
    }
}

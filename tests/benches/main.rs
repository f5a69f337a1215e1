//! `bench [FILTER] [--rounds N] [--program PATH] [--out DIR]`: what a launch, a stop, a round trip and a pod's memory cost,
//! beside a bare QEMU with the same arguments and beside libvirt.
//!
//! All of it happens in namespaces made here, which end with everything in them. Within a round the variants take turns, so
//! that a machine that slows down slows all of them; what counts are ratios of medians in one run. `docs/performance.md`
//! shows a run.

mod bare;
mod control;
mod launch;
mod libvirt;
mod many;
mod memory;
mod picture;
mod placement;
mod plan;
mod pod;
mod prefault;
mod report;
mod sample;
mod shape;
mod throughput;
mod timeline;
mod wire;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use report::Report;

/// As `--program` has it.
static PROGRAM: OnceLock<Utf8PathBuf> = OnceLock::new();

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The program that is measured: by default that beside this one.
fn program() -> Result<Utf8PathBuf> {
    if let Some(program) = PROGRAM.get() {
        return Ok(program.clone());
    }
    let own = Utf8PathBuf::try_from(std::env::current_exe()?)?;
    Ok(own
        .parent()
        .context("a program lies in a directory")?
        .join("virt-launcher"))
}

/// What the command line asks for.
struct Asked {
    filter: String,
    rounds: usize,
    out: Utf8PathBuf,
    bare: Option<Utf8PathBuf>,
    inside: bool,
}

fn asked() -> Result<Asked> {
    let mut asked = Asked {
        filter: String::new(),
        rounds: 15,
        out: tests::project().join("target/bench"),
        bare: None,
        inside: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--rounds" => asked.rounds = value()?.parse()?,
            "--out" => asked.out = value()?.into(),
            "--program" => {
                let path = std::fs::canonicalize(value()?)?;
                PROGRAM.get_or_init(|| Utf8PathBuf::try_from(path).unwrap_or_default());
            }
            "--inside" => asked.inside = true,
            "--bare" => asked.bare = Some(value()?.into()),
            _ => asked.filter = arg,
        }
    }
    Ok(asked)
}

fn run() -> Result<()> {
    let asked = asked()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(plan) = &asked.bare {
        return runtime.block_on(bare::serve(plan));
    }
    if !asked.inside {
        return Err(enclosed(&std::env::current_exe()?)).context("cannot start `unshare`");
    }
    pod::enter()?;
    libvirt::furnish()?;
    let mut report = Report::default();
    runtime.block_on(measure(&asked, &mut report))?;
    tell(&asked, &report)
}

/// Becomes this program in a PID namespace: what libvirt's daemons start ends with the bench, however that ends. A shell is
/// its PID 1, since libvirt waits until somebody has reaped what it orphaned.
fn enclosed(own: &Path) -> std::io::Error {
    Command::new(tests::need::tool("unshare"))
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-c", "\"$0\" \"$@\" --inside; exit $?"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec()
}

async fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let wanted = |row: &str| row.contains(&asked.filter);
    let rounds = asked.rounds;
    for (index, shape) in shape::SHAPES.iter().enumerate() {
        if wanted(&format!("launch {}", shape.name)) {
            launch::measure(shape, rounds, index == 0, report).await?;
        }
    }
    if wanted("many") {
        many::measure(rounds, report).await?;
    }
    if wanted("memory") {
        memory::measure(rounds, report).await?;
    }
    if wanted("control") {
        control::measure(report).await?;
    }
    if wanted("throughput") {
        throughput::measure(rounds, report).await?;
    }
    if wanted("plan") {
        plan::measure(rounds, report)?;
    }
    if wanted("placement") {
        placement::measure(rounds, report)?;
    }
    if wanted("prefault") {
        prefault::measure(rounds, report).await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the program's answer")]
fn tell(asked: &Asked, report: &Report) -> Result<()> {
    print!("{}", report.table());
    std::fs::create_dir_all(&asked.out)?;
    std::fs::write(
        asked.out.join("bench.json"),
        serde_json::to_string_pretty(report)?,
    )?;
    std::fs::write(asked.out.join("bench.svg"), picture::draw(report))?;
    Ok(())
}

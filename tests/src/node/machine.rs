//! The machine's side of a node: QEMU plays it until it powers off or is dropped.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::Utf8PathBuf;

use super::shape::{Places, Shape};
use crate::process::Started;
use crate::project;

/// From QEMU's start to the node's user space: 8 to 20 s, more on a machine that does other things as well.
const READY: Duration = Duration::from_secs(180);

/// A node that is up.
#[derive(Debug)]
pub struct Node {
    /// Its QEMU, whose output is what the node tells, `node: ...` a line.
    pub qemu: Started,
    /// What it wrote: `console.log` and whatever its program leaves in `/node`.
    pub results: Utf8PathBuf,
}

/// Where a node of this shape leaves its results.
pub fn results(shape: &Shape) -> Utf8PathBuf {
    project().join("target/node/results").join(shape.name)
}

/// The QEMU that plays it, where everything that a boot needs was built.
fn built(shape: &Shape) -> Result<Utf8PathBuf> {
    let kernel = project().join(shape.kernel.directory());
    let run = project().join("target/node/qemu/run");
    for file in [
        kernel.join("vmlinux"),
        kernel.join("initramfs.cpio"),
        run.clone(),
    ] {
        ensure!(
            file.is_file(),
            "this test needs `{file}`; `make node` builds it"
        );
    }
    Ok(run)
}

/// Boots a node that runs `program --in-node`. What the program is to find in `/node` must be in [`results`] already.
///
/// A boot that hangs is tried once more, and said: about one of 75 loses a timer under emulation. Nothing else is ever
/// tried twice.
pub fn boot(shape: &Shape, program: &camino::Utf8Path) -> Result<Node> {
    match boot_once(shape, program) {
        Ok(node) => Ok(node),
        Err(error) => {
            super::say(&format!(
                "{}: the boot failed, once more: {error:#}",
                shape.name
            ));
            boot_once(shape, program)
        }
    }
}

fn boot_once(shape: &Shape, program: &camino::Utf8Path) -> Result<Node> {
    let run = built(shape)?;
    let results = results(shape);
    let console = results.join("console.log");
    let project = project();
    let places = Places {
        project: &project,
        results: &results,
        console: Some(&console),
        program,
    };
    let mut command = Command::new(run);
    command.args(shape.qemu_args(&places)).stdin(Stdio::null());
    let mut qemu = Started::start(&mut command)?;
    qemu.wait_for("node: ready", READY)
        .with_context(|| format!("the node did not come up; its console is `{console}`"))?;
    Ok(Node { qemu, results })
}

/// A prompt on a node, on this terminal, until the shell ends.
pub fn shell(shape: &Shape) -> Result<()> {
    let run = built(shape)?;
    let results = project().join("target/node/results/shell");
    fs::create_dir_all(&results)?;
    let project = project();
    let program = camino::Utf8PathBuf::try_from(std::env::current_exe()?)?;
    let places = Places {
        project: &project,
        results: &results,
        console: None,
        program: &program,
    };
    let status = Command::new(run).args(shape.qemu_args(&places)).status()?;
    ensure!(status.success(), "QEMU ended: {status}");
    Ok(())
}

/// The end of a text file that may be long.
pub fn tail(path: &camino::Utf8Path, lines: usize) -> String {
    let mut text = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text));
    if let Err(error) = read {
        return format!("`{path}`: {error}");
    }
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

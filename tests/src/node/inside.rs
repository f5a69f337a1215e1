//! The node's side of the runner: each case in a process and a cgroup of its own, killed and looked after when it ends.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{kernel, nic};

/// Where the machine reads what the node has to say.
pub const RESULTS: &str = "/node";
/// The cgroup below which a case and its pods are.
const CGROUP: &str = "/sys/fs/cgroup/case";
/// What a pod's cgroup may limit.
pub const CONTROLLERS: &str = "+cpuset +cpu +memory +hugetlb +pids";

/// Runs the cases named in `/node/cases`, one after the other, each for no longer than `limit`.
pub fn run(limit: Duration) -> Result<()> {
    let mut told = OpenOptions::new().write(true).open("/dev/ttyS1")?;
    let cases = fs::read_to_string(Path::new(RESULTS).join("cases"))?;
    for name in cases.lines() {
        let started = Instant::now();
        let before = state()?;
        let result = run_case(name, limit).and_then(|()| unchanged(&before));
        let seconds = started.elapsed().as_secs_f64();
        let line = match result {
            Ok(()) => format!("node: case {name} passed {seconds:.1} s"),
            Err(error) => format!("node: case {name} failed {seconds:.1} s: {error:#}"),
        };
        writeln!(told, "{}", line.replace('\n', " "))?;
    }
    Ok(())
}

fn run_case(name: &str, limit: Duration) -> Result<()> {
    let cgroup = Path::new(CGROUP);
    fs::create_dir_all(cgroup.join("runner"))?;
    // Pods are made beside the runner: a cgroup with processes in it gives no controllers to its children.
    fs::write(cgroup.join("cgroup.subtree_control"), CONTROLLERS)?;
    let log = File::create(Path::new(RESULTS).join(format!("{name}.log")))?;
    let mut case = Command::new("/bin/sh")
        .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
        .arg(cgroup.join("runner/cgroup.procs"))
        .arg(std::env::current_exe()?)
        .args(["--case", name])
        .env("NODE_CGROUP", "case")
        .env("RUST_BACKTRACE", "0")
        // Else insta asks cargo.
        .env("INSTA_WORKSPACE_ROOT", crate::project())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let ended = wait(&mut case, limit);
    clean_up()?;
    keep_snapshots()?;
    let status = match ended? {
        Some(status) => status,
        None => {
            case.wait()?;
            anyhow::bail!("still running after {limit:?}");
        }
    };
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Snapshots that differ are in the node's memory: out with them, to be read and moved to where they belong.
fn keep_snapshots() -> Result<()> {
    let directory = crate::project().join("tests/cases/node/snapshots");
    let Ok(entries) = directory.read_dir_utf8() else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().ends_with(".snap.new") {
            fs::copy(entry.path(), Path::new(RESULTS).join(entry.file_name()))?;
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn wait(case: &mut Child, within: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = case.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends everything that the case started, and removes its cgroups and its network namespaces.
fn clean_up() -> Result<()> {
    fs::write(Path::new(CGROUP).join("cgroup.kill"), "1")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while kernel::remove_cgroups(Path::new(CGROUP)).is_err() {
        ensure!(
            Instant::now() < deadline,
            "processes of the case do not die"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    for entry in fs::read_dir("/run/netns")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("pod-") {
            crate::namespace::run("ip", &["netns", "delete", &name])?;
        }
    }
    Ok(())
}

/// What every case must leave as it found it.
fn state() -> Result<BTreeMap<String, String>> {
    let mut state = BTreeMap::new();
    for cell in kernel::cells()? {
        for size in ["1048576", "2048"] {
            let free = kernel::free_pages(cell, size)?;
            state.insert(
                format!("free {size} kB pages of node {cell}"),
                free.to_string(),
            );
        }
    }
    for vf in nic::all_vfs()? {
        let driver = nic::driver(&vf)?.unwrap_or_else(|| "none".to_owned());
        state.insert(format!("driver of {vf}"), driver);
    }
    Ok(state)
}

/// Pages go back a moment after the process that had them.
fn unchanged(before: &BTreeMap<String, String>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let after = state()?;
        if after == *before {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let changed = before
                .iter()
                .filter(|(key, value)| after.get(*key) != Some(value))
                .map(|(key, value)| {
                    format!(
                        "{key}: was {value}, is {}",
                        after.get(key).map_or("gone", String::as_str)
                    )
                });
            let changed: Vec<_> = changed.collect();
            return Err(anyhow::anyhow!(changed.join("; "))).context("it left the node changed");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

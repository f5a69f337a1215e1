//! What a launch costs in what can be counted: system calls, programs and threads started, bytes moved. Time varies with
//! the machine, these do not; a change that makes a launch dearer without meaning to is seen here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::run::{Launch, SOON, vmi};
use tests::world::World;
use tests::{need, pod};

/// What one of our processes did until the guest could have run.
#[derive(Debug, Default)]
struct Cost {
    calls: u64,
    /// Read and written, by whatever call.
    bytes: u64,
    threads: u64,
}

/// Calls whose answer is a number of bytes.
const MOVES: [&str; 12] = [
    "read(",
    "write(",
    "pread64(",
    "pwrite64(",
    "readv(",
    "writev(",
    "recvfrom(",
    "sendto(",
    "recvmsg(",
    "sendmsg(",
    "getdents64(",
    "pwritev(",
];

impl Cost {
    /// Of a trace's lines: `SECONDS CALL(ARGUMENTS) = ANSWER`.
    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut cost = Self::default();
        for line in lines {
            let Some((_, call)) = line.split_once(' ') else {
                continue;
            };
            if call.starts_with("---") || call.starts_with("+++") {
                continue;
            }
            cost.calls += 1;
            cost.threads += u64::from(call.contains("CLONE_THREAD"));
            let answer = call.rsplit_once(" = ").map_or("", |(_, answer)| answer);
            let number = answer.split(' ').next().and_then(|word| word.parse().ok());
            if MOVES.iter().any(|name| call.starts_with(name)) {
                cost.bytes += number.unwrap_or(0);
            }
        }
        cost
    }
}

/// Each process's and thread's trace is a file.
fn traces(directory: &Path) -> Result<Vec<String>> {
    let mut traces = Vec::new();
    for entry in fs::read_dir(directory)? {
        let bytes = fs::read(entry?.path())?;
        traces.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(traces)
}

fn seconds(line: &str) -> f64 {
    let word = line.split(' ').next().unwrap_or_default();
    word.parse().unwrap_or(f64::MAX)
}

/// A successful exec of `program`; of any where that is empty.
fn executes(line: &str, program: &str) -> bool {
    let start = format!(" execve(\"{program}");
    line.contains(&start) && line.ends_with(" = 0")
}

/// The part of a process's trace from its exec of `program` until `end`.
fn life<'a>(traces: &'a [String], program: &str, end: f64) -> Result<Vec<&'a str>> {
    let trace = traces
        .iter()
        .find(|trace| trace.lines().any(|line| executes(line, program)))
        .with_context(|| format!("nobody executed {program}"))?;
    let begun = trace
        .lines()
        .skip_while(|line| !executes(line, program))
        .take_while(|line| seconds(line) <= end);
    Ok(begun.collect())
}

#[test]
fn a_launch_costs_what_it_did() -> Result<()> {
    let world = World::enter()?;
    let directory = tempfile::tempdir()?;
    let prefix = directory.path().join("trace");
    let prefix = prefix.to_str().context("a path in UTF-8")?;
    let strace = need::tool("strace");
    let mut vmi = vmi(&[]);
    vmi["spec"]["startStrategy"] = json!("Paused");
    tests::namespace::run("sh", &["-euc", POD_NIC])?;
    let pod = [
        "-ff",
        "-ttt",
        "-o",
        prefix,
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let mut run = Launch::through(strace.as_str(), &pod).vmi(&vmi).start()?;
    run.wait_for("guest: left paused", SOON)?;
    let unshare = pod::children(run.child().id())?;
    let unshare = unshare.first().context("strace has a child")?;
    let init = pod::children(unshare.cast_unsigned())?;
    kill(
        Pid::from_raw(*init.first().context("PID 1")?),
        Signal::SIGTERM,
    )?;
    run.code()?;
    drop(world);

    let traces = traces(directory.path())?;
    let told = "guest: left paused";
    let end = traces
        .iter()
        .flat_map(|trace| trace.lines())
        .find(|line| line.contains(" write(2,") && line.contains(told))
        .map(seconds)
        .context("no trace of the end")?;
    let first = life(&traces, tests::binary::virt_launcher().as_str(), end)?;
    let begin = first.first().map_or(0.0, |line| seconds(line));
    let pid1 = Cost::of(first.into_iter());
    let supervisor = Cost::of(life(&traces, "/proc/self/exe", end)?.into_iter());
    let programs: Vec<&str> = traces
        .iter()
        .flat_map(|trace| trace.lines())
        .filter(|line| executes(line, "") && (begin..=end).contains(&seconds(line)))
        .collect();
    let found = format!("PID 1: {pid1:?}; supervisor: {supervisor:?}; programs: {programs:#?}");
    assert!(pid1.calls <= PID1_CALLS, "{found}");
    assert!(pid1.bytes <= PID1_BYTES, "{found}");
    assert_eq!(pid1.threads, 0, "{found}");
    assert!(supervisor.calls <= SUPERVISOR_CALLS, "{found}");
    assert!(supervisor.bytes <= SUPERVISOR_BYTES, "{found}");
    // The probe of KVM, the images.
    assert_eq!(supervisor.threads, 2, "{found}");
    // PID 1, the supervisor, QEMU; `nft` once, which makes the rules and says what the kernel made.
    assert_eq!(programs.len(), 4, "{found}");
    Ok(())
}

/// Counted: 664 calls with 12 KB, 1242 with 84 KB. A tenth or so above that, since a busy machine wakes a loop more often
/// for the same; what once stood on this path (a write for each word of the request that starts QEMU, 1400 of them) is far
/// beyond it.
const PID1_CALLS: u64 = 730;
const PID1_BYTES: u64 = 14_000;
const SUPERVISOR_CALLS: u64 = 1_370;
const SUPERVISOR_BYTES: u64 = 93_000;

const POD_NIC: &str = "\
ip link add eth0 mtu 1400 address 02:00:00:aa:bb:cc type veth peer name outside
ip address add 192.0.2.2/24 dev eth0
ip link set eth0 up
ip link set outside up
ip route add default via 192.0.2.1";

//! Many VMs one after the other leave the machine as it was; a supervisor with nothing to do does nothing.
//!
//! `SOAK` is how many VMs are started and ended (a few by default).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::ctl::ctl;
use tests::pod::until;
use tests::run::{Launch, SOON, vmi};
use tests::world::{World, said};

/// Where nobody asks for more.
const FEW: u32 = 6;

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// What a VM takes and has to give back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// Of the kind that a pod has of its own, among all that processes are in.
    namespaces: usize,
    links: usize,
    mounts: usize,
    /// Below the directories of runs.
    files: usize,
    /// Huge pages, all and free, by pool.
    pages: Vec<String>,
    /// Processes that are called as ours are.
    processes: usize,
    /// This process's own open files: it is the parent of every run.
    fds: usize,
}

impl Held {
    fn now(world: &World) -> Result<Self> {
        let mut namespaces = std::collections::BTreeSet::new();
        let mut processes = 0;
        // Those that came of this test: others run on this machine too.
        let own = std::process::id().to_string();
        for entry in fs::read_dir("/proc")?.flatten() {
            let place = entry.path();
            let Ok(environment) = fs::read(place.join("environ")) else {
                continue;
            };
            let mark = format!("SOAK_OF={own}");
            if !environment
                .split(|byte| *byte == 0)
                .any(|one| one == mark.as_bytes())
            {
                continue;
            }
            processes += 1;
            for kind in ["mnt", "net", "pid"] {
                namespaces.extend(fs::read_link(place.join("ns").join(kind)).ok());
            }
        }
        let lines = |text: String| text.lines().count();
        let mut pages = Vec::new();
        for pool in fs::read_dir("/sys/kernel/mm/hugepages")?.flatten() {
            let pool = pool.path().join("nr_hugepages");
            pages.push(fs::read_to_string(&pool)?.trim().to_owned());
        }
        Ok(Self {
            namespaces: namespaces.len(),
            links: lines(said("ip", &["-oneline", "link", "show"])?),
            mounts: lines(fs::read_to_string("/proc/thread-self/mountinfo")?),
            files: world.runs().len(),
            pages,
            processes,
            fds: fs::read_dir("/proc/thread-self/fd")?.count(),
        })
    }
}

/// Memory that the kernel keeps for itself and cannot take back (`SUnreclaim`), in KiB.
fn kernel_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("SUnreclaim:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.context("SUnreclaim")?.parse()?)
}

/// The least of a VM that has a tap, a bridge, a disk and servers.
fn small() -> serde_json::Value {
    let mut vmi = vmi(&[]);
    vmi["spec"]["startStrategy"] = "Paused".into();
    vmi["spec"]["domain"]["memory"]["guest"] = "64Mi".into();
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    vmi
}

#[test]
fn many_starts_and_ends_leave_nothing() -> Result<()> {
    let world = World::enter()?;
    let mark = std::process::id().to_string();
    let mut first = None;
    let mut kernel = Vec::new();
    for vm in 0..number("SOAK").unwrap_or(FEW) {
        let mut run = Launch::of(&small()).env("SOAK_OF", &mark).start()?;
        run.wait_for("left paused as asked", SOON)?;
        run.signal(Signal::SIGTERM)?;
        assert_eq!(run.code()?, Some(7), "{:#?}", run.seen());
        drop(run);
        world.is_clean(SOON)?;
        // The first brought up what stays for good, such as modules and this test's own pipes.
        let first = match &first {
            None => first.insert(Held::now(&world)?),
            Some(first) => first,
        };
        until(SOON, || {
            let now = Held::now(&world)?;
            ensure!(
                now == *first,
                "after {vm} VMs {now:#?}, after one {first:#?}"
            );
            Ok(())
        })?;
        kernel.push(kernel_memory()?);
    }
    println!(
        "{} VMs; kernel memory that cannot be taken back, in KiB: {:?} after the first, {:?} after the last",
        kernel.len(),
        kernel.first(),
        kernel.last()
    );
    Ok(())
}

/// How often the threads of a process went to sleep (`voluntary_ctxt_switches`, proc(5)): each is a wakeup that ended.
fn wakeups(pid: i32) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let status = fs::read_to_string(task.path().join("status"))?;
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim().to_owned())
        };
        let switches = field("voluntary_ctxt_switches:").context("switches")?;
        all.push((field("Name:").unwrap_or_default(), switches.parse()?));
    }
    all.sort();
    Ok(all)
}

#[test]
fn an_idle_supervisor_makes_no_wakeups_of_its_own() -> Result<()> {
    let world = World::enter()?;
    // A guest with disks, a NIC and a console, of which it makes no use once it has started.
    let mut vmi = vmi(&[("mode", "serve")]);
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    let mut run = Launch::of(&vmi).start()?;
    run.ready()?;
    run.shell()?;
    let pod = run.pod()?;
    ensure!(ctl(&["status"])?["state"] == "Running");
    let seconds = u64::from(number("IDLE_SECONDS").unwrap_or(5));
    let window = Duration::from_secs(seconds);
    let count = || Ok::<_, anyhow::Error>((wakeups(pod.init.pid)?, wakeups(pod.supervisor.pid)?));
    // What a start still has to do, and our own question, is over when a whole window was silent. Then another one is.
    let mut before = count()?;
    let mut silent = 0;
    for _ in 0..12 {
        std::thread::sleep(window);
        let now = count()?;
        silent = if now == before { silent + 1 } else { 0 };
        before = now;
        if silent == 2 {
            break;
        }
    }
    ensure!(
        silent == 2,
        "it never was silent for {window:?} twice: {before:#?}"
    );
    println!("no wakeup in {window:?}, twice: {before:?}");
    run.signal(Signal::SIGTERM)?;
    run.code()?;
    world.is_clean(SOON)
}

//! The pod that a launcher made, as the machine's `/proc` shows it; and whether anything of it is left.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use camino::Utf8PathBuf;
use launcher::monitor::pidfd::pidfd_open;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a pod has of its own.
const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "pid", "uts"];

/// One of the pod's processes.
#[derive(Debug)]
pub struct Process {
    /// In the machine's PID namespace.
    pub pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    fn open(pid: i32) -> Result<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)).with_context(|| format!("process {pid}"))?;
        Ok(Self { pid, pidfd })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid), signal)?)
    }

    /// Waits for its end.
    pub fn ended(&self, within: Duration) -> Result<()> {
        let mut end = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut end, PollTimeout::try_from(within)?)?;
        ensure!(ready == 1, "process {} is still there", self.pid);
        Ok(())
    }
}

/// A launcher's processes and their namespaces, while they run.
#[derive(Debug)]
pub struct Pod {
    /// PID 1 of the pod.
    pub init: Process,
    /// The half that owns the VM.
    pub supervisor: Process,
    /// QEMU, or what stands for it.
    pub qemu: Process,
    /// Held open: the kernel gives a namespace's number to the next one as soon as nobody has it.
    namespaces: BTreeMap<&'static str, (Utf8PathBuf, fs::File)>,
}

impl Pod {
    /// The pod of the local run whose outer process is `outer`; QEMU must have been started.
    pub fn of(outer: u32) -> Result<Self> {
        let init = match children(outer)?.as_slice() {
            [init] => *init,
            other => bail!("the outer process has children {other:?}, not PID 1 alone"),
        };
        let (mut supervisor, mut qemu) = (None, None);
        for child in children(init.cast_unsigned())? {
            let command = fs::read_to_string(format!("/proc/{child}/cmdline"))?;
            let half = match command.split('\0').nth(1) {
                Some("supervise") => &mut supervisor,
                _ => &mut qemu,
            };
            ensure!(
                half.replace(child).is_none(),
                "PID 1 has one child too many"
            );
        }
        let mut namespaces = BTreeMap::new();
        for name in NAMESPACES {
            let theirs = namespace(&format!("/proc/{init}/ns/{name}"))?;
            let ours = namespace(&format!("/proc/thread-self/ns/{name}"))?;
            ensure!(theirs != ours, "the pod has no {name} namespace of its own");
            let held = fs::File::open(format!("/proc/{init}/ns/{name}"))?;
            namespaces.insert(name, (theirs, held));
        }
        Ok(Self {
            init: Process::open(init)?,
            supervisor: Process::open(supervisor.context("there is no supervisor")?)?,
            qemu: Process::open(qemu.context("there is no QEMU")?)?,
            namespaces,
        })
    }

    /// The supervisor of this moment alone: there may be no QEMU yet.
    pub fn supervisor_of(outer: u32) -> Result<Process> {
        let init = children(outer)?;
        let init = init.first().context("there is no PID 1")?;
        for child in children(init.cast_unsigned())? {
            let command = fs::read_to_string(format!("/proc/{child}/cmdline"))?;
            if command.split('\0').nth(1) == Some("supervise") {
                return Process::open(child);
            }
        }
        bail!("there is no supervisor at this moment")
    }

    /// The pod's network namespace, to enter it.
    pub fn network(&self) -> Result<fs::File> {
        Ok(fs::File::open(format!("/proc/{}/ns/net", self.init.pid))?)
    }

    /// Waits until every process has ended, and asks whether anybody is in one of the namespaces. Then they go.
    pub fn is_gone(self, within: Duration) -> Result<()> {
        for process in [&self.init, &self.supervisor, &self.qemu] {
            process.ended(within)?;
        }
        // A process that has just been reaped leaves its namespaces a moment later.
        until(within, || {
            let left = self.inhabitants();
            ensure!(
                left.is_empty(),
                "namespaces of the pod are still in use: {left:?}"
            );
            Ok(())
        })
    }

    fn inhabitants(&self) -> Vec<String> {
        let mut left = Vec::new();
        for process in numbers("/proc") {
            for thread in numbers(&format!("/proc/{process}/task")) {
                for (name, (theirs, _)) in &self.namespaces {
                    let path = format!("/proc/{process}/task/{thread}/ns/{name}");
                    // A thread that ended meanwhile is in none.
                    if namespace(&path).is_ok_and(|its| its == *theirs) {
                        left.push(path);
                    }
                }
            }
        }
        left
    }
}

/// Tries until it holds: for what the kernel does in its own time and tells nobody.
pub fn until<T>(within: Duration, holds: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match holds() {
            Ok(told) => return Ok(told),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn namespace(path: &str) -> Result<Utf8PathBuf> {
    Ok(Utf8PathBuf::try_from(fs::read_link(path)?)?)
}

/// The processes that `pid` has started and not reaped.
pub fn children(pid: u32) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for thread in numbers(&format!("/proc/{pid}/task")) {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"))?;
        for child in text.split_whitespace() {
            all.push(child.parse()?);
        }
    }
    Ok(all)
}

fn numbers(directory: &str) -> Vec<i32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

//! A pod for each measured start: namespaces with KubeVirt's directories and a NIC, made by `unshare` and a shell that says
//! the time and becomes the launcher.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::namespace;

/// The bench's own namespaces, in which bare QEMUs run: a NIC as a pod has one, and an empty `/run`.
pub(crate) fn enter() -> Result<()> {
    tests::need::root();
    namespace::enter_fresh_network()?;
    for line in SETUP.lines() {
        namespace::run("sh", &["-c", line])?;
    }
    Ok(())
}

const SETUP: &str = "\
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/kubevirt/container-disks /run/kubevirt-private /run/kubevirt-ephemeral-disks /run/libvirt/empty-disks
ip link add eth0 type veth peer name outside
ip address add 10.244.2.11/24 dev eth0
ip link set eth0 up
ip link set outside up
ip route add default via 10.244.2.1 dev eth0";

/// A running launcher in its pod.
pub(crate) struct Pod {
    unshare: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Seconds since the epoch when the launcher was executed.
    pub(crate) executed: f64,
}

impl Pod {
    /// Starts `virt-launcher run` as PID 1 of a pod.
    pub(crate) fn start(launcher: &Utf8Path, vmi: &Utf8Path, guest: &Utf8Path) -> Result<Self> {
        let script = format!(
            "set -e\nmount -t sysfs none /sys\nip link set lo up\n{SETUP}\necho $EPOCHREALTIME\n\
             exec {launcher} run --vmi {vmi} --kernel-boot-dir {guest} --allow-emulation --log-format json 2>&1"
        );
        let mut unshare = Command::new(tests::need::tool("unshare"))
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--net",
                "--uts",
                "--ipc",
                "bash",
                "-c",
            ])
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `unshare`")?;
        let stdout = unshare.stdout.take().context("a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let executed = lines
            .next()
            .context("the pod's shell ended early")??
            .parse()?;
        Ok(Self {
            unshare,
            lines,
            executed,
        })
    }

    /// The next log line with this event.
    pub(crate) fn event(&mut self, name: &str) -> Result<Value> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            let line = line?;
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            if value["event"] == name {
                return Ok(value);
            }
            seen.push(line);
        }
        bail!("the launcher ended without `{name}`:\n{}", seen.join("\n"))
    }

    /// PID 1 of the pod, as seen from here.
    pub(crate) fn pid1(&self) -> Result<i32> {
        let unshare = self.unshare.id();
        children(i32::try_from(unshare)?)?
            .first()
            .copied()
            .context("unshare has no child")
    }

    /// The pod's root as seen from here.
    pub(crate) fn root(&self) -> Result<camino::Utf8PathBuf> {
        Ok(format!("/proc/{}/root", self.pid1()?).into())
    }

    /// Asks PID 1 to end, and waits for it.
    pub(crate) fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid1()?), Signal::SIGTERM)?;
        self.unshare.wait()?;
        Ok(())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // `--kill-child`: the pod goes with it. Not an error when it has ended.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// A process's children (`proc_pid_task_tid_children(5)`).
pub(crate) fn children(pid: i32) -> Result<Vec<i32>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect())
}

/// Seconds since the epoch of a log line's time stamp, RFC 3339 in UTC; only its time of day counts.
pub(crate) fn time_of_day(stamp: &str) -> Result<f64> {
    let time = stamp
        .split_once('T')
        .context("a time stamp")?
        .1
        .trim_end_matches('Z');
    let mut parts = time.split(':').map(str::parse::<f64>);
    let mut next = || {
        parts
            .next()
            .context("a time of day")
            .and_then(|part| Ok(part?))
    };
    Ok(next()? * 3600.0 + next()? * 60.0 + next()?)
}

/// Milliseconds from `executed` (seconds since the epoch) to a log line.
pub(crate) fn elapsed_ms(executed: f64, line: &Value) -> Result<f64> {
    let stamp = line["timestamp"]
        .as_str()
        .context("a log line has a time stamp")?;
    let day = 86_400.0;
    let elapsed = time_of_day(stamp)? - executed.rem_euclid(day);
    Ok(elapsed.rem_euclid(day) * 1000.0)
}

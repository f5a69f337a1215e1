//! A pod for each measured start: namespaces with KubeVirt's directories and NICs, made by `unshare` and a shell that waits
//! for the word, says the time and becomes the launcher.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::namespace;

/// The bench's own namespaces, in which bare QEMUs run: NICs as a pod has them, and an empty `/run`.
pub(crate) fn enter() -> Result<()> {
    tests::need::root();
    namespace::enter_fresh_network()?;
    namespace::run("sh", &["-euc", &furniture(Pod::MOST_NICS)])
}

/// Who makes what is between the pod's NICs and the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The launcher.
    Made,
    /// Somebody before it, as virt-handler does.
    Prepared,
}

/// The first NIC is the pod's own, each further one Multus'.
fn furniture(nics: u32) -> String {
    format!(
        "\
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/kubevirt/container-disks /run/kubevirt-private /run/kubevirt-ephemeral-disks /run/libvirt/empty-disks
ip link add eth0 type veth peer name outside
ip address add 10.244.2.11/24 dev eth0
ip link set eth0 up
ip link set outside up
ip route add default via 10.244.2.1 dev eth0
for n in $(seq 1 {more}); do
    ip link add net$n type veth peer name outside$n
    ip link set net$n up
    ip link set outside$n up
done",
        more = nics.saturating_sub(1)
    )
}

fn prepared(nics: u32) -> String {
    let script = tests::project().join("tests/cases/networks/virt-handler");
    let more: Vec<String> = (1..nics)
        .map(|nic| format!("bridge:net{nic}:tap{nic}:1"))
        .collect();
    format!(
        "sh {script} /run/kubevirt-private masquerade:eth0:tap0:1 {}",
        more.join(" ")
    )
}

/// A pod, before and after its program runs.
pub(crate) struct Pod {
    unshare: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Seconds since the epoch when its program was executed.
    pub(crate) executed: f64,
}

impl Pod {
    /// The bench's own namespace has so many.
    pub(crate) const MOST_NICS: u32 = 8;

    /// `virt-launcher run` as PID 1 of a pod.
    pub(crate) fn start(
        launcher: &Utf8Path,
        vmi: &Utf8Path,
        guest: &Utf8Path,
        (network, nics): (Network, u32),
    ) -> Result<Self> {
        let mut pod = Self::make(&command(launcher, vmi, guest), (network, nics))?;
        pod.go()?;
        Ok(pod)
    }

    /// A pod that is ready for its program and waits for [`go`](Self::go).
    pub(crate) fn make(program: &str, (network, nics): (Network, u32)) -> Result<Self> {
        let prepare = match network {
            Network::Made => String::new(),
            Network::Prepared => prepared(nics),
        };
        let script = format!(
            "set -e\nmount -t sysfs none /sys\nip link set lo up\n{}\n{prepare}\necho made\nread -r go\n\
             echo $EPOCHREALTIME\nexec {program} 2>&1",
            furniture(nics)
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
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `unshare`")?;
        let stdout = unshare.stdout.take().context("a pipe")?;
        let mut pod = Self {
            unshare,
            lines: BufReader::new(stdout).lines(),
            executed: 0.0,
        };
        pod.line()?;
        Ok(pod)
    }

    /// The word for which its shell, and a program that waits, waits.
    pub(crate) fn say(&mut self, word: &str) -> Result<()> {
        let stdin = self.unshare.stdin.as_mut().context("a pipe")?;
        Ok(writeln!(stdin, "{word}")?)
    }

    /// Starts the program.
    pub(crate) fn go(&mut self) -> Result<()> {
        self.say("go")?;
        self.executed = self.line()?.parse()?;
        Ok(())
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("the pod ended early")??)
    }

    /// The next log line with this event.
    pub(crate) fn event(&mut self, name: &str) -> Result<Value> {
        let (_, event) = self.until(name)?;
        Ok(event)
    }

    /// The next log line with this event, and those before it.
    pub(crate) fn until(&mut self, name: &str) -> Result<(Vec<Value>, Value)> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            let line = line?;
            let value: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if value["event"] == name {
                return Ok((seen, value));
            }
            seen.push(value);
        }
        bail!("the launcher ended without `{name}`: {seen:#?}")
    }

    /// PID 1 of the pod, as seen from here.
    pub(crate) fn pid1(&self) -> Result<i32> {
        let unshare = self.unshare.id();
        children(i32::try_from(unshare)?)?
            .first()
            .copied()
            .context("unshare has no child")
    }

    /// PID 1's children: the supervisor and QEMU.
    pub(crate) fn is_qemu(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.starts_with("qemu"))
    }

    /// A file of the pod as seen from here.
    pub(crate) fn path(&self, path: &str) -> Result<Utf8PathBuf> {
        Ok(format!("/proc/{}/root{path}", self.pid1()?).into())
    }

    /// Asks PID 1 to end.
    pub(crate) fn terminate(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid1()?), Signal::SIGTERM)?)
    }

    /// Asks PID 1 to end, and waits for it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.terminate()?;
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

/// The launcher as a container's entrypoint.
pub(crate) fn command(launcher: &Utf8Path, vmi: &Utf8Path, guest: &Utf8Path) -> String {
    format!(
        "{launcher} run --vmi {vmi} --kernel-boot-dir {guest} --allow-emulation --log-format json"
    )
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
fn time_of_day(stamp: &str) -> Result<f64> {
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

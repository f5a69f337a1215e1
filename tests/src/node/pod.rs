//! A pod on the node, made by `tests/node/pod`.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::kernel;
use crate::process::{Started, Stream};
use crate::{binary, guest, project};

/// A plan is made in a second on real hardware.
const PLANNED: Duration = Duration::from_secs(60);

/// What a pod is to be.
#[derive(Debug)]
pub struct Pod {
    name: String,
    options: Vec<String>,
    arguments: Vec<String>,
    through: Option<Utf8PathBuf>,
    boot: Option<Utf8PathBuf>,
}

impl Pod {
    /// A pod with no limits, whose NIC has 10.244.0.10.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: vec!["--name".to_owned(), name.to_owned()],
            arguments: Vec::new(),
            through: None,
            boot: None,
        }
    }

    /// Under the seccomp profile that container runtimes apply by default, as a container without CAP_SYS_NICE has it
    /// (`tests/src/bin/default_seccomp.rs`).
    pub fn under_default_seccomp(mut self) -> Result<Self> {
        self.through = Some(binary::beside("default_seccomp")?);
        Ok(self)
    }

    /// Another guest than the demo guest built from the node's kernel, by the directory of its kernel-boot container.
    #[must_use]
    pub fn boot(mut self, directory: Utf8PathBuf) -> Self {
        self.boot = Some(directory);
        self
    }

    /// Options of `tests/node/pod`, such as `["--cpus", "4-6", "--mems", "1"]`.
    #[must_use]
    pub fn options<'a>(mut self, options: impl IntoIterator<Item = &'a str>) -> Self {
        self.options.extend(options.into_iter().map(str::to_owned));
        self
    }

    /// Further arguments of `virt-launcher run`.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Starts another program than the product in the pod.
    pub fn start(self, program: &Utf8Path, args: &[&str]) -> Result<Running> {
        let mut command = Command::new(project().join("tests/node/pod"));
        command.args(self.options).arg("--").args(self.through);
        command.arg(program).args(args);
        Ok(Running {
            started: Started::start_shown(&mut command, super::log)?,
            name: self.name,
        })
    }

    /// Starts the product with a VMI; the demo guest built from the node's kernel is its kernel-boot container.
    pub fn run(self, vmi: &Value) -> Result<Running> {
        self.run_text(&serde_json::to_string_pretty(vmi)?)
    }

    /// The same with a VMI as people write it.
    pub fn run_text(self, vmi: &str) -> Result<Running> {
        self.launcher("run", vmi)
    }

    /// What `virt-launcher plan` says of a VMI in this pod: exit code and JSON.
    pub fn plan_text(self, vmi: &str) -> Result<(i32, Value)> {
        let mut pod = self.arguments(["--output", "json"]).launcher("plan", vmi)?;
        let code = pod.code(PLANNED)?;
        let said: Vec<&str> = pod.started.said(Stream::Out).collect();
        let told = serde_json::from_str(&said.join("\n"))
            .with_context(|| pod.started.seen().join("\n"))?;
        Ok((code, told))
    }

    fn launcher(mut self, command: &str, vmi: &str) -> Result<Running> {
        let file = Utf8PathBuf::from(format!("/tmp/{}.vmi", self.name));
        std::fs::write(&file, vmi)?;
        let boot = self.boot.take().unwrap_or_else(guest::generic_boot_dir);
        let mut args = vec![
            command,
            "--vmi",
            file.as_str(),
            "--kernel-boot-dir",
            boot.as_str(),
        ];
        let further = std::mem::take(&mut self.arguments);
        args.extend(further.iter().map(String::as_str));
        self.start(&binary::beside("virt-launcher")?, &args)
    }
}

/// A pod that runs.
#[derive(Debug)]
pub struct Running {
    /// Its output, line by line.
    pub started: Started,
    name: String,
}

impl Running {
    /// Its cgroup, to read or to change: `cpuset.cpus`, `hugetlb.1GB.events`, ...
    pub fn cgroup(&self) -> Utf8PathBuf {
        kernel::cgroup_parent().join(&self.name)
    }

    /// The node's number of the pod's PID 1.
    pub fn pid1(&self) -> Result<i32> {
        self.find("a PID 1", |task| {
            Ok(kernel::status(task, "NSpid")?.split_whitespace().nth(1) == Some("1"))
        })
    }

    /// The node's number of the pod's QEMU.
    pub fn qemu(&self) -> Result<i32> {
        self.find("a QEMU", |task| {
            Ok(kernel::status(task, "Name")?.starts_with("qemu-system"))
        })
    }

    /// The guest's serial console from its first line, as KubeVirt's `guest-console-log` container follows it.
    pub fn console(&self) -> Result<Started> {
        let private = format!("/proc/{}/root/run/kubevirt-private", self.pid1()?);
        let mut logs = Vec::new();
        for entry in Utf8Path::new(&private).read_dir_utf8()? {
            logs.push(entry?.path().join("virt-serial0-log"));
        }
        let log = logs.into_iter().find(|log| log.exists());
        let log = log.with_context(|| format!("no console log below `{private}`"))?;
        let mut tail = Command::new("tail");
        tail.args(["--lines=+1", "--follow", log.as_str()]);
        Started::start_shown(tail.stdin(Stdio::null()), super::log)
    }

    /// Runs the product once more in the pod, as `kubectl exec` does: its exit code and stdout; stderr is logged.
    pub fn exec(&self, args: &[&str]) -> Result<(Option<i32>, String)> {
        let output = Command::new("nsenter")
            .arg(format!("--target={}", self.pid1()?))
            .args(["--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup"])
            .args(["setpriv", "--reuid=107", "--regid=107", "--clear-groups"])
            .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
            .arg(binary::beside("virt-launcher")?)
            .args(args)
            .output()?;
        super::log(String::from_utf8_lossy(&output.stderr).trim_end());
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    }

    fn find(&self, what: &str, is: impl Fn(&str) -> Result<bool>) -> Result<i32> {
        let cgroup = self.cgroup();
        let processes = kernel::processes(&cgroup)?;
        // One that ended meanwhile is not it.
        let found = processes
            .iter()
            .find(|pid| is(&pid.to_string()).unwrap_or(false));
        found
            .copied()
            .with_context(|| format!("{what} is not among {processes:?} of `{cgroup}`"))
    }

    /// Sends a signal to the pod's PID 1, as the kubelet does.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid1()?), signal)?)
    }

    /// Waits for its end and its exit code.
    pub fn code(&mut self, within: Duration) -> Result<i32> {
        let status = self.started.finish(within)?;
        status
            .code()
            .with_context(|| format!("the pod ended: {status}"))
    }

    /// Waits for its end, which must be a good one.
    pub fn succeed(&mut self, within: Duration) -> Result<()> {
        let code = self.code(within)?;
        ensure!(
            code == 0,
            "exit code {code}; it said:\n{}",
            self.started.seen().join("\n")
        );
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The script outside the pod cleans up when its program has ended, in whatever way.
        if kernel::write(self.cgroup().join("cgroup.kill"), "1").is_ok() {
            let _ = self.started.finish(Duration::from_secs(20));
        }
    }
}

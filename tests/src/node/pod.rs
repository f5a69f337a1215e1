//! A pod on the node, made by `tests/node/pod`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::kernel;
use crate::process::Started;
use crate::{binary, guest, project};

/// What a pod is to be.
#[derive(Debug)]
pub struct Pod {
    name: String,
    options: Vec<String>,
    arguments: Vec<String>,
}

impl Pod {
    /// A pod with no limits, whose NIC has 10.244.0.10.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: vec!["--name".to_owned(), name.to_owned()],
            arguments: Vec::new(),
        }
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
        command.args(self.options).arg("--").arg(program).args(args);
        Ok(Running {
            started: Started::start_shown(&mut command, super::log)?,
            name: self.name,
        })
    }

    /// Starts the product with a VMI; the demo guest built from the node's kernel is its kernel-boot container.
    pub fn run(mut self, vmi: &Value) -> Result<Running> {
        let file = Utf8PathBuf::from(format!("/tmp/{}.json", self.name));
        std::fs::write(&file, serde_json::to_string_pretty(vmi)?)?;
        let boot = guest::generic_boot_dir();
        let mut args = vec![
            "run",
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

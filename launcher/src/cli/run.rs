//! `run`: as a pod's PID 1, or as the outer process of a pod of its own; and the halves behind it.

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;

use nix::sys::signal::SigSet;

use super::args::{PodInitArgs, RunArgs};
use super::plan::{Wanted, prepare};
use super::{log, networks, report, vmi_source};
use crate::local::{outer, pod_init};
use crate::monitor::pid1::{self, Verdict};
use crate::pod::PodPaths;
use crate::storage;
use crate::supervise::channel::Pid1;
use crate::supervise::driver::{self, Ended};
use crate::supervise::outcome::{ExitCode, Outcome};

/// A process that is PID 1 is in a pod; any other makes one.
pub fn run(args: &RunArgs) -> u8 {
    log::start(args.log_format);
    if std::process::id() == 1 {
        in_pod(args)
    } else {
        locally(args)
    }
}

/// Synchronous and tiny: everything that can fail in interesting ways is the supervisor's.
fn in_pod(args: &RunArgs) -> u8 {
    if !args.networks.is_empty() {
        let error = networks::NetworkOptionError::InPod;
        return report::failure("network-in-pod", &error, ExitCode::Usage);
    }
    let mut supervisor = Command::new("/proc/self/exe");
    supervisor
        .arg("supervise")
        .args(std::env::args_os().skip(2));
    match pid1::run(supervisor) {
        Ok(Verdict::Supervisor(code)) => code,
        Ok(Verdict::Lost(number)) => {
            tracing::error!(
                event = "supervisor-lost",
                signal = number,
                "the supervisor was ended by signal {number}"
            );
            ExitCode::ControlLost as u8
        }
        Err(error) => report::failure("monitor-failed", &error, ExitCode::Bug),
    }
}

fn locally(args: &RunArgs) -> u8 {
    let text = match vmi_source::read(&args.vm) {
        Ok(text) => text,
        Err(error) => return report::failure("no-vmi", &error, ExitCode::Usage),
    };
    let spec = match super::plan::spec(&text) {
        Ok((spec, _)) => spec,
        Err(refusal) => return report::refusal(&refusal),
    };
    let disks = storage::plan::local_paths(&spec, &args.vm.disk_paths(), &PodPaths::default());
    let networks = match networks::behind(&spec, &args.networks) {
        Ok(networks) => networks,
        Err(error) => return report::failure("no-such-network", &error, ExitCode::Usage),
    };
    let local = outer::LocalRun {
        spec: &spec,
        networks,
        vmi: &text,
        arguments: args.in_pod(&disks),
        console: !args.no_console,
    };
    match outer::run(&local) {
        Ok(code) => code,
        Err(error) => report::failure("local-run-failed", &error, ExitCode::HostUnfit),
    }
}

/// Becomes a local pod's PID 1.
pub fn pod_init(args: &PodInitArgs) -> u8 {
    log::start(super::args::LogFormat::Text);
    let error = pod_init::run(inherited(args.from_outer));
    report::failure("pod-init-failed", &error, ExitCode::HostUnfit)
}

#[expect(unsafe_code, reason = "an inherited file is known by its number alone")]
fn inherited(number: i32) -> OwnedFd {
    // SAFETY: the outer process left this file open for us at this number, and this is the only place that takes
    // it; a wrong number fails in the first read. std knows no other way to take an inherited file.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The half that owns the VM, started by PID 1.
pub fn supervise(args: &RunArgs) -> u8 {
    log::start(args.log_format);
    // PID 1's mask came along; `nft` and the runtime's own handlers need theirs open.
    if let Err(errno) = SigSet::empty().thread_set_mask() {
        return report::failure("mask-failed", &errno, ExitCode::Bug);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report::failure("runtime-failed", &error, ExitCode::Bug),
    };
    runtime.block_on(async {
        match Pid1::inherit() {
            Ok(pid1) => own(args, &pid1).await,
            Err(error) => report::failure("no-pid1", &error, ExitCode::Usage),
        }
    })
}

async fn own(args: &RunArgs, pid1: &Pid1) -> u8 {
    let text = match vmi_source::read(&args.vm) {
        Ok(text) => text,
        Err(error) => return report::failure("no-vmi", &error, ExitCode::Usage),
    };
    let plan = match prepare(&text, &args.vm, Wanted::Run).await {
        Ok(plan) => plan,
        Err(error) => return error.report(),
    };
    report::notices(&plan.notices);
    let ended = driver::run(&plan, pid1).await;
    let log = plan.paths.qemu_log(plan.uid);
    match ended {
        Ended::Vm(outcome) => told(&outcome, &log),
        Ended::Launch(error, exit) => {
            if let Some(status) = exit {
                tracing::error!(
                    event = "qemu-exited",
                    "QEMU ended with {status}{}",
                    last_words(&log)
                );
            }
            report::failure("launch-failed", &error, error.exit_code())
        }
        Ended::Pid1Gone => ExitCode::ControlLost as u8,
    }
}

fn told(outcome: &Outcome, log: &camino::Utf8Path) -> u8 {
    let code = outcome.exit_code() as u8;
    match outcome {
        Outcome::QemuDied(_) => {
            tracing::error!(
                event = "ended",
                exit_code = code,
                "guest: {outcome}{}",
                last_words(log)
            );
        }
        _ => tracing::info!(event = "ended", exit_code = code, "guest: {outcome}"),
    }
    code
}

/// What QEMU said last, made safe for a terminal: a guest can have a hand in it.
fn last_words(log: &camino::Utf8Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(2048)..];
    let lines: Vec<String> = String::from_utf8_lossy(tail)
        .lines()
        .rev()
        .take(5)
        .map(|line| line.chars().filter(|letter| !letter.is_control()).collect())
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let said: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
    format!("; it said: {}", said.join(" | "))
}

//! `run`: as a pod's PID 1, or as the outer process of a pod of its own; and the halves behind it.

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::SigSet;

use super::args::{LogFormat, PodInitArgs, RunArgs};
use super::plan::{Wanted, prepare};
use super::{log, networks, report, vmi_source};
use crate::apply::records;
use crate::local::outer::{self, millis};
use crate::local::pod_init;
use crate::monitor::pid1::{self, Verdict};
use crate::plan::LaunchPlan;
use crate::pod::PodPaths;
use crate::storage;
use crate::supervise::channel::{Found, Pid1};
use crate::supervise::driver::{self, Ended};
use crate::supervise::kept;
use crate::supervise::outcome::{ExitCode, Outcome};
use crate::supervise::state_dir::{self, StateDir};

/// A pod has no say in the machine's memory.
#[derive(Debug, thiserror::Error)]
#[error("--grow-hugepages is for local runs: a pod gets the pages that the kubelet gives it")]
struct NotLocal;

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
    if args.grow_hugepages {
        return report::failure("usage", &NotLocal, ExitCode::Usage);
    }
    if !args.networks.is_empty() {
        let error = networks::NetworkOptionError::InPod;
        return report::failure("network-in-pod", &error, ExitCode::Usage);
    }
    let supervisor = || {
        let mut supervisor = Command::new("/proc/self/exe");
        supervisor
            .arg("supervise")
            .args(std::env::args_os().skip(2));
        supervisor
    };
    match pid1::run(supervisor) {
        Ok(Verdict::Done(code)) => code,
        Ok(Verdict::Lost(status)) => {
            tracing::error!(
                event = "supervisor-lost",
                status = %status,
                "the supervisor died ({status}) and there is no guest that another one could take up"
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
    let init_arguments = match args.log_format {
        LogFormat::Text => Vec::new(),
        LogFormat::Json => vec!["--log-format=json".to_owned()],
    };
    let local = outer::LocalRun {
        spec: &spec,
        networks,
        vmi: &text,
        arguments: args.in_pod(&disks),
        init_arguments,
        console: !args.no_console,
        grow_hugepages: args.grow_hugepages,
    };
    match outer::run(&local) {
        Ok(code) => code,
        Err(error) => report::failure("local-run-failed", &error, ExitCode::HostUnfit),
    }
}

/// Becomes a local pod's PID 1.
pub fn pod_init(args: &PodInitArgs) -> u8 {
    log::start(args.log_format);
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
            Ok(pid1) => match own(args, &pid1).await {
                // The word that ends the pod: without it PID 1 takes our end for a crash.
                Ok(code) => match pid1.done(code) {
                    Ok(()) => code,
                    Err(error) => report::failure("pid1-gone", &error, ExitCode::ControlLost),
                },
                Err(code) => code,
            },
            Err(error) => report::failure("no-pid1", &error, ExitCode::Usage),
        }
    })
}

/// The pod's exit code; or this process's alone: a guest runs on, and PID 1 starts the next supervisor.
async fn own(args: &RunArgs, pid1: &Pid1) -> Result<u8, u8> {
    let mut found = match pid1.greeting().await {
        Ok(found) => found,
        Err(error) => return Err(report::failure("no-greeting", &error, ExitCode::Bug)),
    };
    match found.kept.remove(kept::STATE) {
        Some(dir) => follow(pid1, found, StateDir::from_kept(dir)).await,
        None => Ok(begin(args, pid1, found).await),
    }
}

/// The first supervisor.
async fn begin(args: &RunArgs, pid1: &Pid1, found: Found) -> u8 {
    let started = Instant::now();
    let text = match vmi_source::read(&args.vm) {
        Ok(text) => text,
        Err(error) => return report::failure("no-vmi", &error, ExitCode::Usage),
    };
    let plan = match prepare(&text, &args.vm, Wanted::Run).await {
        Ok(plan) => plan,
        Err(error) => return error.report(),
    };
    report::notices(&plan.notices);
    tracing::info!(
        event = "planned",
        ms = millis(started),
        "plan: {} on {}",
        plan.domain,
        plan.accel
    );
    let ended = driver::run(&plan, pid1, found).await;
    conclude(&plan, started, ended)
}

/// One that follows a dead one.
async fn follow(pid1: &Pid1, found: Found, dir: StateDir) -> Result<u8, u8> {
    let no_plan = |error: &(dyn std::error::Error + 'static)| {
        report::failure("no-plan", error, ExitCode::Bug)
    };
    let text = dir.text(state_dir::PLAN).map_err(|error| no_plan(&error))?;
    let plan =
        records::parse_plan(&text, state_dir::PLAN.into()).map_err(|error| no_plan(&error))?;
    let started = Instant::now();
    let ended = driver::take_up(&plan, pid1, dir, found).await;
    Ok(conclude(&plan, started, ended))
}

fn conclude(plan: &LaunchPlan, started: Instant, ended: Ended) -> u8 {
    let log = plan.paths.qemu_log(plan.uid);
    match ended {
        Ended::Vm(outcome) => told(&outcome, millis(started), &log),
        Ended::Launch(error, Some(status)) if error.is_echo_of_exit() => {
            let code = error.exit_code() as u8;
            tracing::error!(
                event = "qemu-exited",
                exit_code = code,
                "QEMU ended with {status} before the guest ran{}",
                last_words(&log)
            );
            code
        }
        Ended::Launch(error, _) => report::failure("launch-failed", &error, error.exit_code()),
        Ended::Pid1Gone => ExitCode::ControlLost as u8,
    }
}

fn told(outcome: &Outcome, ms: f64, log: &camino::Utf8Path) -> u8 {
    let code = outcome.exit_code() as u8;
    match outcome {
        Outcome::QemuDied(_) => {
            tracing::error!(
                event = "ended",
                exit_code = code,
                ms,
                "end: {outcome}{}",
                last_words(log)
            );
        }
        _ => tracing::info!(event = "ended", exit_code = code, ms, "end: {outcome}"),
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

//! `run`: as a pod's PID 1, or as the outer process of a pod of its own; and the halves behind it.

use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser;
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use numa::HostRoot;

use super::args::{Cli, LogFormat, PodInitArgs, ResumeArgs, RunArgs};
use super::plan::{Wanted, prepare};
use super::{log, networks, report, vmi_source};
use crate::apply::records;
use crate::confine::{self, Reach};
use crate::local::outer::{self, millis};
use crate::local::pod_init;
use crate::monitor::handover::Handover;
use crate::monitor::inherited;
use crate::monitor::pid1::{self, MonitorError, Verdict};
use crate::plan::LaunchPlan;
use crate::pod::PodPaths;
use crate::storage;
use crate::supervise::channel::{Found, Pid1};
use crate::supervise::driver::{self, Ended};
use crate::supervise::journal::Journal;
use crate::supervise::kept;
use crate::supervise::outcome::{ExitCode, Outcome};
use crate::supervise::state_dir::{self, StateDir};

/// A pod has no say in the machine's memory.
#[derive(Debug, thiserror::Error)]
#[error("--grow-hugepages is for local runs: a pod gets the pages that the kubelet gives it")]
struct NotLocal;

/// An older or a changed command line.
#[derive(Debug, thiserror::Error)]
#[error("this program does not understand the arguments of the running one: `{0}`")]
struct NotUnderstood(String);

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
    let arguments = std::env::args_os().skip(2);
    // Not UTF-8, clap has refused it already.
    let arguments = arguments.map(|one| one.to_string_lossy().into_owned());
    // The VM's directories are virt-handler's to look through, whatever the runtime's umask is.
    umask(Mode::from_bits_truncate(0o022));
    let started = Instant::now();
    // What is not there when the domain is entered could not be made later.
    for directory in PodPaths::default().all() {
        let _not_ours = std::fs::create_dir_all(directory);
    }
    let landlock = match confine::confine(&reach(args)) {
        Ok(landlock) => landlock,
        Err(error) => return report::failure("not-confined", &error, ExitCode::HostUnfit),
    };
    match landlock {
        Some(version) => tracing::info!(
            event = "confined",
            landlock = version,
            ms = millis(started),
            "files: only the VM's are within reach (Landlock {version})"
        ),
        None => tracing::warn!(
            event = "not-confined",
            "this kernel has no Landlock: what a user's files allow is within QEMU's reach"
        ),
    }
    verdict(pid1::run(arguments.collect(), landlock))
}

/// What the command line adds to what every VM needs.
fn reach(args: &RunArgs) -> Reach {
    let root = HostRoot::default();
    let mut reach = Reach::of_pod(&PodPaths::default(), &root);
    let program = std::env::current_exe().ok();
    let program = program.and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    reach.read.extend(program);
    let own = root.proc("");
    // Nameless files are within reach as it is.
    let vmi = args.vm.vmi.iter().filter(|path| !path.starts_with(&own));
    reach.read.extend(vmi.cloned());
    reach.read.extend(args.vm.kernel_boot_dir.clone());
    match args.vm.qemu.as_str().contains('/') {
        true => reach.read(&args.vm.qemu),
        false => {
            let path = std::env::var("PATH").unwrap_or_default();
            let found = path.split(':').filter(|directory| !directory.is_empty());
            let found = found.map(|directory| Utf8Path::new(directory).join(&args.vm.qemu));
            reach.read.extend(found.filter(|path| path.exists()));
        }
    }
    for (_, path) in &args.vm.disks {
        reach.write(path);
    }
    if !args.local_pod {
        // A pod has only the devices that it was given, and block claims are among them under names of their own.
        reach.write(&root.dev(""));
    }
    reach
}

fn verdict(verdict: Result<Verdict, MonitorError>) -> u8 {
    match verdict {
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
    let error = match inherited::take(args.from_outer) {
        Ok(from_outer) => pod_init::run(from_outer),
        Err(error) => pod_init::PodInitError::Outer(error),
    };
    report::failure("pod-init-failed", &error, ExitCode::HostUnfit)
}

/// Takes the place of the former program of PID 1; or shows that it could.
pub fn resume(args: &ResumeArgs) -> u8 {
    let handed = match Handover::take(args.handover) {
        Ok(handed) => handed,
        Err(error) => return not_resumed(&error),
    };
    let arguments = ["virt-launcher", "supervise"].map(str::to_owned);
    let arguments = arguments.into_iter().chain(handed.arguments.clone());
    let Ok(Cli {
        command: super::args::Command::Supervise(run),
    }) = Cli::try_parse_from(arguments)
    else {
        return not_resumed(&NotUnderstood(handed.arguments.join(" ")));
    };
    log::start(run.log_format);
    if args.rehearse {
        return rehearse(handed);
    }
    // `/proc/self/fd/N` is what the kernel was given to execute.
    let _shown = prctl::set_name(c"virt-launcher");
    verdict(pid1::resume(handed))
}

fn not_resumed(error: &(dyn std::error::Error + 'static)) -> u8 {
    log::start(LogFormat::Text);
    report::failure("not-resumed", error, ExitCode::Bug)
}

/// Everything that could keep this program from taking over is found here, where nothing has happened yet.
fn rehearse(handed: Handover) -> u8 {
    let id = handed.swap.as_ref().map(|swap| swap.id.clone());
    let read = |handed| -> Result<(), Box<dyn std::error::Error>> {
        let (dir, _) = pid1::rehearse(handed, kept::STATE)?;
        let dir = StateDir::from_kept(dir.ok_or("the VM's directory is not among what is kept")?);
        records::parse_plan(&dir.text(state_dir::PLAN)?, state_dir::PLAN.into())?;
        Journal::check(&dir)?;
        Ok(())
    };
    match read(handed) {
        Ok(()) => report::answer(
            &format!("{}\n", pid1::rehearsed(&id.unwrap_or_default())),
            ExitCode::Stopped,
        ),
        Err(error) => not_resumed(&*error),
    }
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
        None => begin(args, pid1, found).await,
    }
}

/// The first supervisor.
async fn begin(args: &RunArgs, pid1: &Pid1, found: Found) -> Result<u8, u8> {
    let started = Instant::now();
    let text = match vmi_source::read(&args.vm) {
        Ok(text) => text,
        Err(error) => return Ok(report::failure("no-vmi", &error, ExitCode::Usage)),
    };
    let plan = match prepare(&text, &args.vm, Wanted::Run).await {
        Ok(plan) => plan,
        Err(error) => return Ok(error.report()),
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
    conclude(&plan, started, ended)
}

fn conclude(plan: &LaunchPlan, started: Instant, ended: Ended) -> Result<u8, u8> {
    let log = plan.paths.qemu_log(plan.uid);
    Ok(match ended {
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
        Ended::MadeWay => {
            tracing::info!(
                event = "made-way",
                "supervisor: it makes way for the next program"
            );
            return Err(ExitCode::Stopped as u8);
        }
        Ended::Pid1Gone => ExitCode::ControlLost as u8,
    })
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

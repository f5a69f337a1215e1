//! The outer process of a local run: makes the pod, shows the console, forwards signals, cleans up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use camino::Utf8PathBuf;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::wait::{WaitStatus, waitpid};

use super::aside;
use super::clone::{Cloned, Program, clone_into_pod};
use super::console::{self, Follower};
use super::mounts::PodDirs;
use super::networks;
use super::pod_init::PodInit;
use super::pools::{self, PoolsError};
use super::run_dir::{Exclusive, RunDir, RunDirError};
use super::signals::Signals;
use super::turn;
use crate::monitor::pidfd::pidfd_signal;
use crate::net::address;
use crate::net::error::NetError;
use crate::net::sysctl::has_ipv6;
use crate::net::veth::{self, NetNs, PodNic};
use crate::net::wire::{self, Wire};
use crate::readable::Readable;
use crate::spec::Spec;
use crate::supervise::outcome::{ExitCode, Outcome};

/// What most pod networks have.
const POD_MTU: u32 = 1500;

/// A pod that could not be made here.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Namespaces, links and mounts need root.
    #[error(
        "a local run makes namespaces, links and mounts, which user {uid} may not; run it as root"
    )]
    NotRoot {
        /// Who asks.
        uid: u32,
    },
    /// The run's directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The kernel made no namespaces.
    #[error("cannot make the pod's namespaces")]
    Clone(#[source] Errno),
    /// Huge pages.
    #[error(transparent)]
    Pools(#[from] PoolsError),
    /// The NIC.
    #[error("cannot make the pod's NIC")]
    Nic(#[source] NetError),
    /// A system call failed.
    #[error("cannot {what}")]
    System {
        /// In words.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> LocalError {
    move |source| LocalError::System {
        what,
        source: source.into(),
    }
}

/// What the outer process must know of the VM.
#[derive(Debug)]
pub struct LocalRun<'a> {
    /// Checked already, so that a refusal costs no namespace.
    pub spec: &'a Spec,
    /// The VMI's text, handed to the pod as a file, so that both read the same.
    pub vmi: &'a str,
    /// Where each network of Multus' leads, by the VMI's name of it; none for a guest that is alone on it.
    pub networks: Vec<networks::Behind>,
    /// Arguments of `run` other than `--vmi`.
    pub arguments: Vec<String>,
    /// Arguments of `pod-init` that say how it reports.
    pub init_arguments: Vec<String>,
    /// Show the console.
    pub console: bool,
    /// Grow pools of huge pages by what the guest lacks, for as long as it runs.
    pub grow_hugepages: bool,
}

/// Runs the pod to its end. The answer is the exit code of its PID 1.
pub fn run(local: &LocalRun<'_>) -> Result<u8, LocalError> {
    let uid = nix::unistd::geteuid();
    if !uid.is_root() {
        return Err(LocalError::NotRoot { uid: uid.as_raw() });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(system("start a runtime"))?;
    let code = runtime.block_on(run_pod(local));
    // A read of the terminal that is still under way must not hold the exit.
    runtime.shutdown_background();
    code
}

async fn run_pod(local: &LocalRun<'_>) -> Result<u8, LocalError> {
    // From here on a signal waits for the loop below.
    let mut signals = Signals::take().map_err(system("listen for signals"))?;
    let grown = pools::begin(local.spec, local.grow_hugepages)?;
    let code = run_in_pod(local, &mut signals).await;
    pools::shrink(grown);
    code
}

async fn run_in_pod(local: &LocalRun<'_>, signals: &mut Signals) -> Result<u8, LocalError> {
    let started = std::time::Instant::now();
    let Some(exclusive) = turn::wait(signals.next()).await? else {
        tracing::warn!(
            event = "cancelled",
            "a signal came before the guest had started"
        );
        return Ok(Outcome::Cancelled.exit_code() as u8);
    };
    let (run_dir, pod) = make_pod(local, exclusive).await?;
    let host_links = pod.host_links();
    tracing::info!(
        event = "pod-made",
        ms = millis(started),
        run = run_dir.id(),
        "network: pod {} (host side {})",
        pod.nic.pod.addr(),
        pod.nic.host.addr()
    );
    networks::tell(&local.networks, &pod.wires);
    let followed = follow(local, &run_dir, &pod, signals).await;
    clean_up(run_dir, &host_links).await;
    let (code, follower) = followed?;
    if let Some(follower) = follower {
        console::show_rest(follower, signals.next()).await;
    }
    Ok(code)
}

struct Pod {
    process: Cloned,
    nic: PodNic,
    wires: Vec<Wire>,
}

impl Pod {
    fn host_links(&self) -> Vec<String> {
        let wires = self.wires.iter().map(|wire| wire.host_link.clone());
        std::iter::once(self.nic.host_link.clone())
            .chain(wires)
            .collect()
    }
}

/// Everything under the lock that keeps runs from choosing one address twice.
async fn make_pod(local: &LocalRun<'_>, exclusive: Exclusive) -> Result<(RunDir, Pod), LocalError> {
    let (removed, left) = exclusive.remove_leftovers()?;
    report(Err(left));
    for id in removed {
        tracing::info!(
            event = "leftover-removed",
            run = id,
            "removed what the killed run `{id}` left"
        );
    }
    let domain: String = local.spec.identity.domain_name().chars().take(40).collect();
    let run_dir = exclusive.make_run(&domain)?;
    match start_pod(local, &run_dir).await {
        Ok(pod) => Ok((run_dir, pod)),
        Err(error) => {
            report(run_dir.remove());
            Err(error)
        }
    }
}

async fn start_pod(local: &LocalRun<'_>, run_dir: &RunDir) -> Result<Pod, LocalError> {
    let links = crate::net::link::read_links()
        .await
        .map_err(LocalError::Nic)?;
    let block = address::choose(&links, &[]).map_err(LocalError::Nic)?;
    let nic = PodNic::new(block, POD_MTU, has_ipv6(&numa::HostRoot::default()));
    let wires = networks::wires(&local.networks, block);
    let vmi = inherited_memfd(local.vmi)?;
    let (from_outer, to_pod) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(system("make a pipe"))?;
    fcntl(&from_outer, FcntlArg::F_SETFD(FdFlag::empty()))
        .map_err(system("hand a pipe to the pod"))?;
    let number = from_outer.as_raw_fd().to_string();
    let fixed = ["virt-launcher", "pod-init", "--from-outer", &number].map(str::to_owned);
    let argv: Vec<String> = fixed
        .into_iter()
        .chain(local.init_arguments.clone())
        .collect();
    let env: Vec<_> = std::env::vars_os().collect();
    let program = Program::new("/proc/self/exe", &argv, &env)
        .map_err(|error| system("name the program")(io::Error::other(error)))?;
    let process = with_signals_blocked(|| clone_into_pod(&program)).map_err(LocalError::Clone)?;
    drop(from_outer);
    let pod = NetNs::Pid(process.pid.as_raw().cast_unsigned());
    veth::pod_nic(&nic, pod)
        .await
        .map_err(|error| ended(&process, LocalError::Nic(error)))?;
    for one in &wires {
        wire::make(one, pod)
            .await
            .map_err(|error| ended(&process, LocalError::Nic(error)))?;
    }
    let init = PodInit {
        dirs: pod_dirs(run_dir).map_err(|error| ended(&process, error))?,
        hostname: local.spec.identity.hostname.clone(),
        nic: nic.clone(),
        wires: wires.clone(),
        argv: pod_argv(local, &vmi),
    };
    send(&init, to_pod).map_err(|error| ended(&process, error))?;
    Ok(Pod {
        process,
        nic,
        wires,
    })
}

/// A pod that will not be: its end takes its namespaces with it.
fn ended(process: &Cloned, error: LocalError) -> LocalError {
    let _gone = pidfd_signal(process.pidfd.as_fd(), Signal::SIGKILL);
    let _reaped = waitpid(process.pid, None);
    error
}

fn pod_argv(local: &LocalRun<'_>, vmi: &OwnedFd) -> Vec<String> {
    let path = format!("/proc/self/fd/{}", vmi.as_raw_fd());
    let fixed = ["virt-launcher", "run", "--vmi", &path].map(str::to_owned);
    fixed
        .into_iter()
        .chain(local.arguments.iter().cloned())
        .collect()
}

/// A file that the pod's processes inherit: they read what was checked, whatever happens to the original.
fn inherited_memfd(text: &str) -> Result<OwnedFd, LocalError> {
    let memfd = memfd_create("vmi", MFdFlags::empty()).map_err(system("make a memfd"))?;
    let mut file = std::fs::File::from(memfd);
    io::Write::write_all(&mut file, text.as_bytes()).map_err(system("copy the VMI"))?;
    Ok(file.into())
}

fn pod_dirs(run_dir: &RunDir) -> Result<PodDirs, LocalError> {
    let resolv_conf = run_dir.path.join("resolv.conf");
    let machine = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    // A resolver on the machine's loopback is out of the pod's reach.
    let reachable = machine.lines().filter(|line| {
        !line.trim_start().starts_with("nameserver 127.") && !line.contains("nameserver ::1")
    });
    let text: String = reachable.flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&resolv_conf, text).map_err(system("write the pod's resolv.conf"))?;
    let below = |base: &Utf8PathBuf, name: &str| base.join(name);
    let run = vec![
        ("kubevirt".to_owned(), below(&run_dir.path, "share")),
        (
            "kubevirt-private".to_owned(),
            below(&run_dir.path, "private"),
        ),
        (
            "kubevirt-ephemeral-disks".to_owned(),
            below(&run_dir.data, "ephemeral"),
        ),
        ("libvirt".to_owned(), below(&run_dir.data, "libvirt")),
    ];
    Ok(PodDirs { run, resolv_conf })
}

fn send(init: &PodInit, to_pod: OwnedFd) -> Result<(), LocalError> {
    let text = serde_json::to_vec(init)
        .map_err(|error| system("write to the pod")(io::Error::from(error)))?;
    io::Write::write_all(&mut std::fs::File::from(to_pod), &text)
        .map_err(system("write to the pod"))
}

/// Signals for a child must be blocked before it exists: PID 1 drops what it has no handler for.
fn with_signals_blocked<T>(act: impl FnOnce() -> T) -> T {
    let mut before = SigSet::empty();
    let _never = pthread_sigmask(
        SigmaskHow::SIG_BLOCK,
        Some(&SigSet::all()),
        Some(&mut before),
    );
    let answer = act();
    let _never = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    answer
}

/// Until the pod's PID 1 ends. Beside its exit code stands what has to be shown of the console yet.
async fn follow(
    local: &LocalRun<'_>,
    run_dir: &RunDir,
    pod: &Pod,
    signals: &mut Signals,
) -> Result<(u8, Option<Follower>), LocalError> {
    let ended = pod
        .process
        .pidfd
        .try_clone()
        .and_then(Readable::new)
        .map_err(system("watch the pod"))?;
    let private = run_dir
        .path
        .join("private")
        .join(local.spec.identity.uid.to_string());
    std::fs::create_dir_all(&private).map_err(system("make the VM's directory"))?;
    let mut follower = None;
    if local.console && local.spec.devices.serial_console {
        follower = Some(
            Follower::open(&private.join("virt-serial0-log"))
                .map_err(system("follow the console"))?,
        );
    }
    {
        let show = show(follower.as_mut());
        let aside = aside::step_aside(&private);
        tokio::pin!(show, aside);
        let (mut showing, mut in_the_way) = (true, true);
        loop {
            tokio::select! {
                _ = ended.ready() => break,
                signal = signals.next() => {
                    let _gone = pidfd_signal(pod.process.pidfd.as_fd(), signal);
                }
                () = &mut show, if showing => showing = false,
                moved = &mut aside, if in_the_way => {
                    in_the_way = false;
                    if let Err(error) = moved {
                        tracing::warn!(event = "misplaced", error = %error, "placement: the outer process may be in the way of vCPUs");
                    }
                }
            }
        }
    }
    let code = match waitpid(pod.process.pid, None) {
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(u8::MAX),
        _ => ExitCode::ControlLost as u8,
    };
    Ok((code, follower))
}

async fn show(follower: Option<&mut Follower>) {
    let Some(follower) = follower else {
        return std::future::pending().await;
    };
    if console::is_terminal() && console::is_foreground() {
        tracing::info!(event = "console-attached", "console: Ctrl-] leaves it");
        match console::attach(follower, "virt-serial0").await {
            Ok(()) => tracing::info!(
                event = "console-left",
                "console left; the guest runs on, Ctrl-C asks it to power off"
            ),
            Err(error) => {
                tracing::warn!(event = "console-failed", error = %error, "the console cannot be shown")
            }
        }
    } else {
        let error = console::copy(follower).await;
        tracing::warn!(event = "console-failed", error = %error, "the console cannot be copied to stdout");
    }
}

async fn clean_up(run_dir: RunDir, host_links: &[String]) {
    // The pod's ends take the links along, but in the kernel's own time; whoever looks now shall find nothing.
    for link in host_links {
        if let Err(error) = veth::delete_pod_nic(link).await {
            tracing::warn!(event = "cleanup-failed", error = %crate::causes::chain(&error), "the pod's NIC cannot be removed");
        }
    }
    report(run_dir.remove());
}

fn report(removed: Result<(), Vec<RunDirError>>) {
    for error in removed.err().into_iter().flatten() {
        tracing::warn!(event = "cleanup-failed", error = %crate::causes::chain(&error), "a directory is left behind for the next run to remove");
    }
}

/// For one line a step.
pub fn millis(since: std::time::Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}

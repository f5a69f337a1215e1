//! `virt-launcher verify`: a running VM is found, asked, and held against its plan.

use std::io::{self, Write};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use numa::{Cgroup, FactError, HostRoot, Topology, file};
use qmp::{ConnectError, Session};
use serde::Serialize;
use serde_json::Value;

use super::confinement::{self, ProcessCheck, Shown, Who};
use super::interrupts::{Interrupts, interrupts};
use super::strangers::{Stranger, guarded, strangers};
use super::throttle::{Throttle, throttles};
use super::{Identity, Report, VerifyError, observe};
use crate::apply::records::{self, RecordError};
use crate::control::PREFIX;
use crate::inspect::{self, InspectError, Search, sheet};
use crate::placement::{Placement, Policy};
use crate::plan::LaunchPlan;

/// The supervisor answers at once.
const GREETING: Duration = Duration::from_secs(10);

/// What keeps a VM from being verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyRunError {
    /// It was not found.
    #[error(transparent)]
    Find(#[from] InspectError),
    /// Its socket.
    #[error("cannot ask by `{path}`")]
    Connect {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// No plan lies beside its socket.
    #[error(
        "no `plan.json` of a VM is at `{directory}`: only a VM that this program runs can be verified"
    )]
    NoPlan {
        /// Where it should be.
        directory: Utf8PathBuf,
    },
    /// Its plan.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// QEMU or the kernel.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A file of the kernel's.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// The answer cannot be written.
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
}

/// Which VM, and how it is told.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Its socket.
    pub socket: Option<&'a Utf8PathBuf>,
    /// Its pod.
    pub pod: Option<&'a Utf8PathBuf>,
    /// One JSON value instead of tables.
    pub json: bool,
}

/// Everything that `verify` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Told {
    domain: String,
    ok: bool,
    policy: Policy,
    #[serde(flatten)]
    report: Report,
    confinement: Vec<ProcessCheck>,
    throttling: Vec<Throttle>,
    strangers: Vec<Stranger>,
    interrupts: Vec<Interrupts>,
}

/// Verifies a VM and writes what was found to `out`; whether all is as planned.
pub async fn run(
    ask: Ask<'_>,
    search: &Search,
    out: &mut dyn Write,
) -> Result<bool, VerifyRunError> {
    let socket = inspect::find(ask.socket, ask.pod, search).await?;
    let plan = plan_beside(&socket)?;
    let connect = |source| VerifyRunError::Connect {
        path: socket.clone(),
        source,
    };
    let stream = qmp::connect(socket.as_std_path()).await.map_err(|source| {
        connect(ConnectError::Connect {
            path: socket.clone().into(),
            source,
        })
    })?;
    // Whoever listens, in our PID namespace; its own may be another.
    let listener = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let options = qmp::Options {
        greeting: GREETING,
        ..qmp::Options::default()
    };
    let session = Session::start(stream, options).await.map_err(connect)?;
    let identity = Identity::ask(&session, &plan.placement).await?;
    let shown = shown(&session).await;
    let told = look(&plan, &identity, listener, shown)?;
    let text = if ask.json {
        format!(
            "{}\n",
            serde_json::to_string(&told).map_err(|error| VerifyRunError::Output(error.into()))?
        )
    } else {
        sheet::render(&sheets(&told))
    };
    out.write_all(text.as_bytes())
        .map_err(VerifyRunError::Output)?;
    Ok(told.ok)
}

/// The plan of the VM whose socket this is: the supervisor's socket lies above the VM's directory, QEMU's own in it.
fn plan_beside(socket: &Utf8Path) -> Result<LaunchPlan, VerifyRunError> {
    let directory = socket.parent().unwrap_or(Utf8Path::new("."));
    let mut candidates = vec![directory.join("plan.json")];
    for name in file::names(directory)? {
        candidates.push(directory.join(name).join("plan.json"));
    }
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(records::read_plan(path)?),
        None => Err(VerifyRunError::NoPlan {
            directory: directory.to_owned(),
        }),
    }
}

/// What the supervisor shows of Landlock; QEMU's own socket knows nothing of it, nor does an older supervisor.
async fn shown(session: &Session) -> Shown {
    let command = format!("{PREFIX}confinement");
    let answer = session.execute_raw(&command, Value::Null, GREETING).await;
    let answer = answer.ok().map(serde_json::from_value);
    answer.and_then(Result::ok).unwrap_or(Shown::UNKNOWN)
}

/// The three processes, by their numbers in the pod.
fn confined(
    pod: &HostRoot,
    supervisor: Option<i32>,
    qemu: i32,
    shown: Shown,
) -> Result<Vec<ProcessCheck>, FactError> {
    let supervisor = supervisor.map(|pid| (Who::Supervisor, pid));
    let all = [(Who::Pid1, 1)].into_iter().chain(supervisor);
    all.chain([(Who::Qemu, qemu)])
        .map(|(who, pid)| {
            let statuses = observe::statuses(pod, pid)?;
            Ok(confinement::check(who, pid, &statuses, shown))
        })
        .collect()
}

fn look(
    plan: &LaunchPlan,
    identity: &Identity,
    listener: Option<i32>,
    shown: Shown,
) -> Result<Told, VerifyRunError> {
    let machine = HostRoot::default();
    // The numbers that QEMU tells are those of its pod: so is the /proc below the pod's root.
    let pod = match listener {
        Some(pid) => HostRoot::new(machine.proc(&format!("{pid}/root"))),
        None => machine.clone(),
    };
    let qemu = identity.process(&pod)?;
    let report = observe(&pod, qemu, identity, &plan.placement)?;
    let supervisor = listener.and_then(|pid| innermost(&machine, pid));
    let confinement = confined(&pod, supervisor, qemu, shown)?;
    let namespace = |who: &str| machine.proc(&format!("{who}/ns/pid")).read_link_utf8().ok();
    let of_pod = listener.and_then(|pid| namespace(&pid.to_string()));
    let is_qemu =
        |pid: i32| innermost(&machine, pid) == Some(qemu) && namespace(&pid.to_string()) == of_pod;
    let who = listener.unwrap_or_else(|| std::process::id().cast_signed());
    let guarded = guarded(&plan.placement, &Topology::read(&machine)?);
    let strangers = strangers(&machine, &guarded, is_qemu)?;
    Ok(Told {
        domain: plan.domain.clone(),
        ok: report.ok()
            && confinement.iter().all(|process| process.ok)
            && tolerated(&plan.placement, &strangers),
        policy: plan.placement.policy,
        report,
        confinement,
        throttling: throttles(&Cgroup::of(&machine, who)?)?,
        strangers,
        interrupts: interrupts(&machine, &plan.placement.devices)?,
    })
}

/// Strangers are a mismatch where none was to be there.
fn tolerated(placement: &Placement, strangers: &[Stranger]) -> bool {
    placement.policy != Policy::Strict || strangers.is_empty()
}

/// A process's number in its own PID namespace, the last of `NSpid`.
fn innermost(root: &HostRoot, pid: i32) -> Option<i32> {
    let text = file::read(&root.proc(&format!("{pid}/status")), file::USUAL_LIMIT);
    let text = text.ok().flatten()?;
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().last()?.parse().ok()
}

fn sheets(told: &Told) -> Vec<sheet::Sheet> {
    let yes = |ok: bool| if ok { "yes" } else { "NO" }.to_owned();
    let mut threads = sheet::Sheet::new("", &["ROLE", "TID", "WANTED", "ACTUAL", "OK", "NAME"]);
    for thread in &told.report.threads {
        let wanted = thread.wanted.as_ref().map(ToString::to_string);
        threads.row([
            thread.role.to_string(),
            thread.tid.0.to_string(),
            wanted.unwrap_or_else(|| "any".to_owned()),
            thread.actual.to_string(),
            yes(thread.ok),
            thread.name.clone(),
        ]);
    }
    let mut sheets = vec![threads];
    if !told.report.memory.is_empty() {
        sheets.push(memory(told, yes));
    }
    sheets.push(processes(told, yes));
    sheets.push(throttling(told));
    sheets.push(others(told));
    if !told.interrupts.is_empty() {
        let mut sheet = sheet::Sheet::new("interrupts", &["DEVICE", "ADDRESS", "COUNT", "CPUS"]);
        for device in &told.interrupts {
            sheet.row([
                device.device.clone(),
                device.address.clone(),
                device.count.to_string(),
                device.cpus.to_string(),
            ]);
        }
        sheets.push(sheet);
    }
    sheets
}

fn memory(told: &Told, yes: impl Fn(bool) -> String) -> sheet::Sheet {
    let header = ["GUEST NODE", "SIZE", "PAGES OF", "WANTED", "ACTUAL", "OK"];
    let mut sheet = sheet::Sheet::new("memory", &header);
    for memory in &told.report.memory {
        let by_node = memory.actual.iter();
        let actual: Vec<_> = by_node
            .map(|(node, bytes)| format!("{}: {bytes}", node.0))
            .collect();
        sheet.row([
            memory
                .guest_node
                .map_or_else(String::new, |node| node.to_string()),
            memory.bytes.to_string(),
            memory
                .page_size
                .map_or_else(|| "ordinary".to_owned(), |size| size.to_string()),
            memory
                .wanted
                .as_ref()
                .map_or_else(|| "any".to_owned(), ToString::to_string),
            actual.join(", "),
            yes(memory.ok),
        ]);
    }
    sheet
}

fn processes(told: &Told, yes: impl Fn(bool) -> String) -> sheet::Sheet {
    let header = [
        "PROCESS",
        "PID",
        "CAPABILITIES",
        "NO NEW PRIVS",
        "SECCOMP",
        "LANDLOCK",
        "OK",
    ];
    let mut sheet = sheet::Sheet::new("confinement", &header);
    for process in &told.confinement {
        sheet.row([
            process.process.to_string(),
            process.pid.to_string(),
            match process.capabilities {
                0 => "none".to_owned(),
                mask => format!("{mask:#x}"),
            },
            yes(process.no_new_privs),
            match process.seccomp_filters {
                0 => "none".to_owned(),
                1 => "1 filter".to_owned(),
                count => format!("{count} filters"),
            },
            process.landlock.to_string(),
            yes(process.ok),
        ]);
    }
    sheet
}

fn throttling(told: &Told) -> sheet::Sheet {
    let header = ["QUOTA US", "PERIOD US", "TIMES THROTTLED", "BY"];
    let mut sheet = sheet::Sheet::new("CPU time is limited by", &header);
    for limit in &told.throttling {
        sheet.row([
            sheet::cell(&Value::from(limit.quota_us)),
            sheet::cell(&Value::from(limit.period_us)),
            sheet::cell(&Value::from(limit.throttled)),
            limit.file.to_string(),
        ]);
    }
    sheet
}

fn others(told: &Told) -> sheet::Sheet {
    let title = "others that are held to the vCPUs' cores";
    let mut sheet = sheet::Sheet::new(title, &["PID", "TID", "CPUS", "NAME"]);
    for stranger in &told.strangers {
        sheet.row([
            stranger.pid.to_string(),
            stranger.tid.0.to_string(),
            stranger.cpus.to_string(),
            stranger.name.clone(),
        ]);
    }
    sheet
}

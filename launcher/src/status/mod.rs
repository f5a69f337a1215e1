//! A VM's state as an operator and virt-handler see it: KubeVirt's states and reasons (facts 3.6), and what stands
//! behind them. Written to `status.json` in the VM's private directory and told on the control socket.

pub mod metrics;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::monitor::protocol::Swap;
use crate::placement::Placement;
use crate::plan::LaunchPlan;
use crate::supervise::outcome::Outcome;
use crate::supervise::step::{Bark, Frozen, IoError, Leaving, Pause, Phase, Run, State};

/// The shape that this program writes.
pub const VERSION: u32 = 1;

/// KubeVirt's `LifeCycle`, which is libvirt's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "libvirt's words")]
pub enum LifeCycle {
    Running,
    Paused,
    Shutdown,
    Shutoff,
    Crashed,
}

/// Why; each goes with one or two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "libvirt's words")]
pub enum Reason {
    Unknown,
    User,
    IOError,
    Watchdog,
    Dump,
    ShuttingDown,
    Crashed,
    StartingUp,
    Shutdown,
    Destroyed,
    Panicked,
    Failed,
}

/// Everything that can be said without asking QEMU or the guest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// `<namespace>_<name>`.
    pub domain: String,
    /// `metadata.uid`.
    pub uid: String,
    /// As virt-handler has it.
    pub state: LifeCycle,
    /// Why.
    pub reason: Reason,
    /// Where the VM is in its life: `starting`, `running`, `rebooting`, `stopping`, `quitting`, `ended`.
    pub phase: &'static str,
    /// How it ended, or will have.
    pub outcome: Option<String>,
    /// Since when the state is what it is, milliseconds since 1970.
    pub since: u64,
    /// Who is who, in the pod's PID namespace.
    pub pids: Pids,
    /// Supervisors that died before this one.
    pub supervisor_restarts: u32,
    /// Which program runs.
    pub program: Program,
    /// The version of Landlock that confines PID 1, supervisor and QEMU to the VM's files; none: nothing does.
    pub landlock: Option<i32>,
    /// The last upgrade in place.
    pub upgrade: Option<Swap>,
    /// Several died in a row: this one has neither agent nor journal.
    pub minimal: bool,
    /// QEMU answers its monitor.
    pub monitor: bool,
    /// The guest agent has its port open.
    pub agent_connected: bool,
    /// `thawed`, `frozen` or `thawing`.
    pub filesystems: &'static str,
    /// What the watchdog did last; none if it never had to.
    pub watchdog: Option<Bark>,
    /// Disks that failed since vCPUs ran last.
    pub io_errors: Vec<IoError>,
    /// The guest's NICs.
    pub interfaces: Vec<Interface>,
    /// The host's devices that it was given whole.
    pub host_devices: Vec<GivenDevice>,
    /// Who runs where.
    pub placement: Placement,
    /// The serial console, in the directory of the control socket; none without one.
    pub console: Option<Console>,
}

/// Process ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pids {
    /// Always 1 in a pod.
    pub pid1: i32,
    /// This process.
    pub supervisor: i32,
    /// None before it was started.
    pub qemu: Option<i32>,
}

/// Versions of this program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Program {
    /// Of the supervisor.
    pub supervisor: &'static str,
    /// Of PID 1.
    pub pid1: String,
}

/// One NIC as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The VMI's name for it.
    pub name: String,
    /// The guest's hardware address.
    pub mac: String,
    /// The tap on the host's side.
    pub tap: String,
}

/// One device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GivenDevice {
    /// The VMI's name for it.
    pub name: String,
    /// What it is on the host.
    pub device: String,
    /// `given`, `wanted-back`, `not-let-go` or `gone`.
    pub state: &'static str,
}

/// Paths relative to the directory of the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Console {
    /// What it said.
    pub log: String,
    /// Where it is typed into.
    pub socket: String,
}

/// What is not in the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// Since when.
    pub since: u64,
    /// Who is who.
    pub pids: Pids,
    /// Supervisors that died.
    pub restarts: u32,
    /// This one is minimal.
    pub minimal: bool,
    /// The monitor answers.
    pub monitor: bool,
    /// The version of PID 1's program.
    pub pid1_program: String,
    /// What confines the processes.
    pub landlock: Option<i32>,
    /// The last upgrade in place.
    pub upgrade: Option<Swap>,
}

/// The status at this moment.
pub fn status(plan: &LaunchPlan, state: &State, now: &Circumstances) -> Status {
    let (life, reason) = life_cycle(state);
    let interfaces = plan.network.nics.iter().map(|nic| Interface {
        name: nic.name.clone(),
        mac: nic.guest_mac.to_string(),
        tap: nic.tap.name.clone(),
    });
    let devices = plan.passthrough.devices.iter().map(|given| GivenDevice {
        name: given.name.clone(),
        device: given.device.to_string(),
        state: match state.leaving.get(&given.id) {
            None => "given",
            Some(Leaving::WantedBack) => "wanted-back",
            Some(Leaving::NotLetGo) => "not-let-go",
            Some(Leaving::Gone) => "gone",
        },
    });
    let console = plan.lifecycle.serial_console.then(|| Console {
        log: format!("{}/virt-serial0-log", plan.uid),
        socket: format!("{}/virt-serial0", plan.uid),
    });
    Status {
        version: VERSION,
        domain: plan.domain.clone(),
        uid: plan.uid.to_string(),
        state: life,
        reason,
        phase: phase(&state.phase),
        outcome: outcome(&state.phase).map(ToString::to_string),
        since: now.since,
        pids: now.pids,
        supervisor_restarts: now.restarts,
        program: Program {
            supervisor: env!("CARGO_PKG_VERSION"),
            pid1: now.pid1_program.clone(),
        },
        landlock: now.landlock,
        upgrade: now.upgrade.clone(),
        minimal: now.minimal,
        monitor: now.monitor,
        agent_connected: state.agent,
        filesystems: match state.frozen {
            Frozen::No => "thawed",
            Frozen::Yes => "frozen",
            Frozen::Thawing => "thawing",
        },
        watchdog: state.watchdog,
        io_errors: state.failed.clone(),
        interfaces: interfaces.collect(),
        host_devices: devices.collect(),
        placement: plan.placement.clone(),
        console,
    }
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Rebooting => "rebooting",
        Phase::Stopping => "stopping",
        Phase::Quitting { .. } => "quitting",
        Phase::Ended(_) => "ended",
    }
}

fn outcome(phase: &Phase) -> Option<&Outcome> {
    match phase {
        Phase::Quitting { because } | Phase::Ended(because) => Some(because),
        _ => None,
    }
}

/// KubeVirt's state and reason.
pub fn life_cycle(state: &State) -> (LifeCycle, Reason) {
    match (&state.phase, state.run) {
        (Phase::Ended(outcome), _) => ended(outcome),
        (Phase::Quitting { .. }, _) => (LifeCycle::Shutdown, Reason::User),
        (_, Run::Running) => (LifeCycle::Running, Reason::Unknown),
        (_, Run::Paused(why)) => (
            LifeCycle::Paused,
            match why {
                Pause::StartingUp => Reason::StartingUp,
                Pause::User => Reason::User,
                Pause::IoError => Reason::IOError,
                Pause::Watchdog => Reason::Watchdog,
                Pause::Dump => Reason::Dump,
                Pause::ShuttingDown => Reason::ShuttingDown,
                Pause::Crashed => Reason::Crashed,
                Pause::Unknown => Reason::Unknown,
            },
        ),
    }
}

/// virt-handler makes the VMI's phase of these (facts 3.6): `Crashed` and `Panicked` fail it.
fn ended(outcome: &Outcome) -> (LifeCycle, Reason) {
    match outcome {
        Outcome::PoweredOff | Outcome::Reset | Outcome::OffOrReset => {
            (LifeCycle::Shutoff, Reason::Shutdown)
        }
        Outcome::Panicked => (LifeCycle::Crashed, Reason::Panicked),
        Outcome::Quit | Outcome::Killed | Outcome::Destroyed | Outcome::Cancelled => {
            (LifeCycle::Shutoff, Reason::Destroyed)
        }
        // What libvirt takes for a crash: QEMU goes without a word of the guest's end.
        Outcome::QemuDied(_) | Outcome::WatchdogFired => (LifeCycle::Shutoff, Reason::Crashed),
        Outcome::ControlLost | Outcome::StartLost => (LifeCycle::Shutoff, Reason::Failed),
    }
}

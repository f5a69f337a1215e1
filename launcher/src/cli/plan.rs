//! From a VMI's text to a plan, for `run` and `plan` alike; and the commands that only look.

use camino::Utf8PathBuf;
use numa::HostRoot;

use super::args::{HostArgs, LogFormat, PlanArgs, VmArgs};
use super::{log, report, vmi_source};
use crate::host::{self, HostFacts, podinfo};
use crate::kvm;
use crate::plan::{Accel, LaunchPlan, Options};
use crate::pod::PodPaths;
use crate::refusal::{Notice, Refusal};
use crate::spec::Spec;
use crate::spec::host_device::HostDevice;
use crate::storage;
use crate::supervise::outcome::ExitCode;
use crate::vmi;

/// What the plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To be carried out: KVM is probed, images must be there.
    Run,
    /// To be looked at.
    Plan,
}

/// No plan.
#[derive(Debug)]
pub enum NoPlan {
    /// The VMI, or this host for it.
    Refused(Refusal),
    /// The host for any VM.
    Unfit(HostUnfit),
}

/// This host runs no VM.
#[derive(Debug, thiserror::Error)]
pub enum HostUnfit {
    /// Facts could not be read.
    #[error("cannot read what this host has")]
    Facts(#[source] host::FactsError),
    /// Links could not be read.
    #[error("cannot read the links of this network namespace")]
    Links(#[source] crate::net::error::NetError),
    /// KVM does not run guests, and emulation was not allowed.
    #[error("{fitness}; --allow-emulation runs the guest on TCG instead, many times slower")]
    Kvm {
        /// What the probe found.
        fitness: kvm::Fitness,
    },
}

impl NoPlan {
    /// Tells it; the answer is the exit code.
    pub fn report(&self) -> u8 {
        match self {
            Self::Refused(refusal) => report::refusal(refusal),
            Self::Unfit(unfit) => report::failure("host-unfit", unfit, ExitCode::HostUnfit),
        }
    }
}

/// Reads and checks.
pub fn spec(text: &str) -> Result<(Spec, Vec<Notice>), Refusal> {
    Spec::from_vmi(&vmi::read(text)?)
}

/// Everything up to the plan, with the facts of the machine itself.
pub async fn prepare(text: &str, args: &VmArgs, wanted: Wanted) -> Result<LaunchPlan, NoPlan> {
    prepare_at(text, args, wanted, &HostRoot::default()).await
}

async fn prepare_at(
    text: &str,
    args: &VmArgs,
    wanted: Wanted,
    root: &HostRoot,
) -> Result<LaunchPlan, NoPlan> {
    // The probe takes milliseconds in the kernel: beside everything else.
    let probe =
        (wanted == Wanted::Run).then(|| std::thread::spawn(|| kvm::probe(&HostRoot::default())));
    let (mut spec, mut notices) = spec(text).map_err(NoPlan::Refused)?;
    if let Some(policy) = args.placement_policy {
        spec.placement.policy = policy;
    }
    let paths = PodPaths::default();
    let mut disk_paths = args.disk_paths();
    if wanted == Wanted::Plan && root.is_machine() {
        // What is planned here is a local run.
        disk_paths = storage::plan::local_paths(&spec, &disk_paths, &paths);
    }
    // A child reads what it must of them meanwhile.
    let images = storage::facts::begin(&spec, root, &disk_paths, &paths);
    let mut facts = facts(root).await.map_err(NoPlan::Unfit)?;
    device_facts(&mut facts, &spec, wanted, root)
        .await
        .map_err(NoPlan::Unfit)?;
    let accel = match probe {
        Some(probe) => accelerator(
            probe.join().unwrap_or(kvm::Fitness::Absent),
            args.allow_emulation,
            &mut notices,
        )?,
        None if facts.kvm || !args.allow_emulation => Accel::Kvm,
        None => Accel::Tcg,
    };
    if let (Wanted::Run, Some(boot)) = (wanted, &spec.firmware.kernel_boot) {
        let usual = || paths.kernel_boot();
        let directory = args.kernel_boot_dir.clone().unwrap_or_else(usual);
        let violations = storage::kernel_boot::unreadable(boot, &directory);
        if !violations.is_empty() {
            return Err(NoPlan::Refused(Refusal::new(violations).noticing(notices)));
        }
    }
    let images = images.finish();
    let options = Options {
        accel,
        qemu: args.qemu.clone(),
        paths,
        kernel_boot_dir: args.kernel_boot_dir.clone(),
        disk_paths,
    };
    let mut plan = match LaunchPlan::new(&spec, &facts, &images, &options) {
        Ok(plan) => plan,
        Err(refusal) => return Err(NoPlan::Refused(refusal.noticing(notices))),
    };
    notices.append(&mut plan.notices);
    plan.notices = notices;
    plan.with_metrics(args.metrics_address)
        .map_err(NoPlan::Refused)
}

/// What only a VMI with host devices needs to know. A run waits for the controller's word on the pod's networks.
async fn device_facts(
    facts: &mut HostFacts,
    spec: &Spec,
    wanted: Wanted,
    root: &HostRoot,
) -> Result<(), HostUnfit> {
    let told = spec.host_devices.iter().filter_map(|device| device.told);
    facts.read_pci(root, told).map_err(HostUnfit::Facts)?;
    let awaited = spec.host_devices.iter().any(HostDevice::is_nic);
    if wanted == Wanted::Run && awaited && facts.network_info.is_none() {
        let devices = podinfo::network_info(root, podinfo::DEADLINE)
            .await
            .map_err(|error| HostUnfit::Facts(error.into()))?;
        if let Some(devices) = devices {
            facts
                .take_network_info(root, devices)
                .map_err(HostUnfit::Facts)?;
        }
    }
    Ok(())
}

fn accelerator(
    fitness: kvm::Fitness,
    allow_emulation: bool,
    notices: &mut Vec<Notice>,
) -> Result<Accel, NoPlan> {
    match fitness {
        kvm::Fitness::Fit => Ok(Accel::Kvm),
        fitness if allow_emulation => {
            notices.push(Notice::new(
                "spec.domain",
                format!("the guest is emulated (TCG): {fitness}"),
            ));
            Ok(Accel::Tcg)
        }
        fitness => Err(NoPlan::Unfit(HostUnfit::Kvm { fitness })),
    }
}

async fn facts(root: &HostRoot) -> Result<HostFacts, HostUnfit> {
    let links = if root.is_machine() {
        crate::net::link::read_links()
            .await
            .map_err(HostUnfit::Links)?
    } else {
        host::links_from(root).map_err(|error| HostUnfit::Facts(error.into()))?
    };
    HostFacts::read(root, links).map_err(HostUnfit::Facts)
}

fn host_root(path: Option<&Utf8PathBuf>) -> HostRoot {
    path.map_or_else(HostRoot::default, HostRoot::new)
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, std::io::Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// `plan`.
pub fn plan(args: &PlanArgs) -> u8 {
    log::start(LogFormat::Text);
    let text = match vmi_source::read(&args.vm) {
        Ok(text) => text,
        Err(error) => return report::failure("no-vmi", &error, ExitCode::Usage),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return report::failure("runtime-failed", &error, ExitCode::Bug),
    };
    let root = host_root(args.host.as_ref());
    match (
        runtime.block_on(prepare_at(&text, &args.vm, Wanted::Plan, &root)),
        args.output,
    ) {
        (Ok(plan), LogFormat::Json) => match serde_json::to_string_pretty(&plan) {
            Ok(json) => report::answer(&(json + "\n"), ExitCode::Stopped),
            Err(error) => report::failure("plan-not-printed", &error, ExitCode::Bug),
        },
        (Ok(plan), LogFormat::Text) => report::answer(&crate::plan::text(&plan), ExitCode::Stopped),
        (Err(NoPlan::Refused(refusal)), output) => report::refused_plan(&refusal, output),
        (Err(unfit), _) => unfit.report(),
    }
}

/// `host`.
pub fn host(args: &HostArgs) -> u8 {
    log::start(LogFormat::Text);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return report::failure("runtime-failed", &error, ExitCode::Bug),
    };
    match (
        runtime.block_on(facts(&host_root(args.host.as_ref()))),
        args.output,
    ) {
        (Ok(facts), LogFormat::Json) => match serde_json::to_string_pretty(&facts) {
            Ok(json) => report::answer(&(json + "\n"), ExitCode::Stopped),
            Err(error) => report::failure("facts-not-printed", &error, ExitCode::Bug),
        },
        (Ok(facts), LogFormat::Text) => report::answer(&host::text(&facts), ExitCode::Stopped),
        (Err(unfit), _) => NoPlan::Unfit(unfit).report(),
    }
}

//! From a valid VMI and a host to the plan.

use std::collections::BTreeMap;

use crate::argv;
use crate::host::{HostFacts, ImageFacts};
use crate::machine::board::Accel;
use crate::machine::fds::Fds;
use crate::machine::{self, Parts};
use crate::net::{self, plan::NetworkPlan};
use crate::passthrough::{self, plan::PassthroughPlan};
use crate::placement::{Placement, devices::near, place::place};
use crate::plan::{LaunchPlan, LifecyclePlan, Options, VERSION, fds};
use crate::refusal::{Notice, Refusal, Violation};
use crate::spec::Spec;
use crate::spec::cpu::CpuModel;
use crate::storage::{self, plan::StoragePlan};

impl LaunchPlan {
    /// The whole plan: network, storage, placement and machine, or every violation of all of them.
    pub fn new(
        spec: &Spec,
        facts: &HostFacts,
        images: &BTreeMap<String, ImageFacts>,
        options: &Options,
    ) -> Result<Self, Refusal> {
        let network = net::plan::plan(spec, facts);
        let storage = storage::plan::plan(spec, images, &options.disk_paths, &options.paths);
        let passthrough = passthrough::plan::plan(spec, facts);
        let (((network, mut notices), (storage, more)), (passthrough, still_more)) = both(
            both(network, storage).map_err(|refusal| refusal.violations),
            passthrough,
        )?;
        notices.extend(more);
        notices.extend(still_more);
        let parts = (network, storage, passthrough);
        Ok(Self::compose(spec, facts, parts, options)?.with_notices(notices))
    }

    /// The plan of a VM whose network, storage and host devices are planned. Its notices are those of placing it and
    /// of building its machine; violations of both come together.
    pub fn compose(
        spec: &Spec,
        facts: &HostFacts,
        parts: Planned,
        options: &Options,
    ) -> Result<Self, Refusal> {
        match place(spec, facts, &near(&parts.2)) {
            Ok(placement) => Self::placed(spec, facts, placement, parts, options),
            // What else is wrong is told too.
            Err(mut violations) => {
                let nowhere = Placement::default();
                let built = Self::placed(spec, facts, nowhere, parts, options);
                violations.extend(built.err().into_iter().flat_map(|it| it.violations));
                Err(Refusal::new(violations))
            }
        }
    }

    /// The plan of a VM whose placement is decided as well.
    pub fn placed(
        spec: &Spec,
        facts: &HostFacts,
        placement: Placement,
        (network, storage, passthrough): Planned,
        options: &Options,
    ) -> Result<Self, Refusal> {
        let uid = spec.identity.uid;
        let numbers = Fds::number(spec.devices.serial_console, &network, &passthrough);
        let kernel_boot = options
            .kernel_boot_dir
            .clone()
            .unwrap_or_else(|| options.paths.kernel_boot());
        let built = machine::build(Parts {
            spec,
            placement: &placement,
            host_cpu: &facts.cpu,
            network: &network,
            passthrough: &passthrough,
            storage: &storage,
            fds: &numbers,
            accel: options.accel,
            vnc: &options.paths.vnc(uid),
            kernel_boot: &kernel_boot,
        });
        let (machine, notices) = built.map_err(Refusal::new)?;
        Ok(Self {
            argv: argv::render(&options.qemu, &machine),
            placement,
            fds: fds::planned(&numbers, (&network, &passthrough), &options.paths, uid),
            network,
            storage,
            passthrough,
            notices,
            version: VERSION,
            domain: spec.identity.domain_name(),
            uid,
            accel: options.accel,
            environment: machine.environment,
            before_cont: machine.steps,
            paths: options.paths.clone(),
            lifecycle: lifecycle(spec, options.accel),
        })
    }

    /// With notices of earlier steps, which stand first.
    #[must_use]
    pub fn with_notices(mut self, mut earlier: Vec<Notice>) -> Self {
        earlier.append(&mut self.notices);
        self.notices = earlier;
        self
    }
}

/// What is planned apart from each other, before the machine is built.
pub(crate) type Planned = (NetworkPlan, StoragePlan, PassthroughPlan);

/// Both values, or the violations of both.
fn both<A, B>(
    first: Result<A, Vec<Violation>>,
    second: Result<B, Vec<Violation>>,
) -> Result<(A, B), Refusal> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => {
            let mut violations = first.err().unwrap_or_default();
            violations.extend(second.err().unwrap_or_default());
            Err(Refusal::new(violations))
        }
    }
}

fn lifecycle(spec: &Spec, accel: Accel) -> LifecyclePlan {
    LifecyclePlan {
        grace_period_seconds: spec.lifecycle.grace_period.as_secs(),
        start_paused: spec.lifecycle.start_paused,
        reboot_policy: spec.lifecycle.reboot_policy,
        acpi: spec.firmware.acpi,
        host_model: spec.cpu.model == CpuModel::HostModel && accel == Accel::Kvm,
        serial_console: spec.devices.serial_console,
        metrics: None,
    }
}

#[cfg(test)]
mod tests;

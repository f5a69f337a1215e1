//! What `features`, `clock` and `status` add to the CPU, as QEMU's properties.

use super::hyperv;
use crate::spec::cpu::{CpuFeature, FeaturePolicy};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::Vmi;
use crate::vmi::path::Path;

/// On or off whatever the host's CPU has: KVM makes these itself.
pub(super) fn flag(name: &str, on: bool) -> CpuFeature {
    CpuFeature {
        name: name.to_owned(),
        value: if on { "on" } else { "off" }.to_owned(),
        policy: if on {
            FeaturePolicy::Force
        } else {
            FeaturePolicy::Disable
        },
    }
}

/// A property with a value of its own.
pub(super) fn property(name: &str, value: impl ToString) -> CpuFeature {
    CpuFeature {
        name: name.to_owned(),
        value: value.to_string(),
        policy: FeaturePolicy::Force,
    }
}

pub(super) fn flags(vmi: &Vmi, out: &mut Findings) -> Vec<CpuFeature> {
    let features = &vmi.spec.domain.features;
    let mut flags = Vec::new();
    if features.kvm.hidden == Some(true) {
        flags.push(flag("kvm", false));
    }
    if let Some(pvspinlock) = &features.pvspinlock {
        flags.push(flag("kvm-pv-unhalt", pvspinlock.is_on()));
    }
    if let Some(apic) = &features.apic {
        if apic.enabled == Some(false) {
            out.notice(
                &Path::of("spec.domain.features.apic.enabled"),
                "this machine always has an APIC, as under KubeVirt: it stays on",
            );
        }
        flags.extend(
            apic.end_of_interrupt
                .filter(|on| *on)
                .map(|on| flag("kvm-pv-eoi", on)),
        );
    }
    if let Some(kvm) = &vmi.spec.domain.clock.timer.kvm {
        flags.push(flag("kvmclock", kvm.present.unwrap_or(true)));
    }
    flags.extend(hyperv::flags(&vmi.spec.domain, out));
    let panics = &vmi.spec.domain.devices.panic_devices;
    if panics
        .iter()
        .any(|one| one.model.as_deref() == Some("hyperv"))
    {
        flags.push(flag("hv-crash", true));
    }
    flags.extend(tsc_frequency(vmi));
    flags
}

/// KubeVirt fixes the TSC's frequency, where status hints at one, for guests that could not bear its change.
fn tsc_frequency(vmi: &Vmi) -> Option<CpuFeature> {
    let frequency = vmi
        .status
        .topology_hints
        .tsc_frequency
        .filter(|hertz| *hertz > 0)?;
    let domain = &vmi.spec.domain;
    let invariant = domain.cpu.features.iter().any(|feature| {
        feature.name.as_deref() == Some("invtsc")
            && matches!(
                feature.policy.as_deref(),
                None | Some("" | "require" | "force")
            )
    });
    let reenlightened = domain
        .features
        .hyperv
        .as_ref()
        .and_then(|hyperv| hyperv.reenlightenment.as_ref())
        .is_some_and(crate::vmi::mirror::State::is_on);
    (invariant || reenlightened).then(|| property("tsc-frequency", frequency))
}

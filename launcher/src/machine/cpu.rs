//! The CPU model and its features: `-cpu`.

use crate::host::CpuIdentity;
use crate::machine::board::Accel;
use crate::placement::Placement;
use crate::refusal::{Notice, Violation};
use crate::spec::cpu::{Cpu, CpuFeature, CpuModel, FeaturePolicy};

const MODEL: &str = "spec.domain.cpu.model";
const FEATURES: &str = "spec.domain.cpu.features";

/// The CPU as QEMU is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuArgument {
    /// `-cpu`, whose parser knows no escape: every part has been checked for commas.
    pub argument: String,
    /// What was changed.
    pub notices: Vec<Notice>,
}

/// The CPU of a VMI.
///
/// QEMU drops what the host lacks with a warning unless it is told to `enforce`, which concerns every
/// feature at once. It is told so where a feature is required, and for a model by name under KVM (whose
/// features are required too, as libvirt has it); optional features are then asked for only where the
/// host has them. A forced feature wants no such check, and turns `enforce` off.
pub fn cpu(cpu: &Cpu, host: &CpuIdentity, accel: Accel) -> Result<CpuArgument, Vec<Violation>> {
    let mut violations = unspeakable(cpu);
    violations.extend(forbidden(cpu, host, accel));
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut notices = Vec::new();
    let enforce = enforces(cpu, accel);
    let mut parts = vec![model(&cpu.model, accel, &mut notices)];
    let mut left_out = Vec::new();
    for feature in &cpu.features {
        if accel == Accel::Tcg && is_paravirtual(&feature.name) && is_on(feature) {
            left_out.push(format!("`{}`", feature.name));
        } else {
            parts.extend(rendered(feature, host, enforce));
        }
    }
    if !left_out.is_empty() {
        notices.push(Notice::new(
            FEATURES,
            format!(
                "left out under emulation, being KVM's: {}",
                left_out.join(", ")
            ),
        ));
    }
    if needs_mpx_off(cpu) {
        parts.push("mpx=off".to_owned());
    }
    if enforce {
        parts.push("enforce".to_owned());
    }
    Ok(CpuArgument {
        argument: parts.join(","),
        notices,
    })
}

/// What the guest is told because of where its vCPUs run (facts 4.2): with CPUs of its own it need not yield to others
/// (`KVM_HINTS_REALTIME`), and under real time the PMU's interrupts are kept away.
pub fn of_placement(placement: &Placement, accel: Accel) -> Vec<&'static str> {
    let hint = (placement.dedicated && accel == Accel::Kvm).then_some("kvm-hint-dedicated=on");
    let no_pmu = placement.realtime.as_ref().map(|_| "pmu=off");
    hint.into_iter().chain(no_pmu).collect()
}

fn model(model: &CpuModel, accel: Accel, notices: &mut Vec<Notice>) -> String {
    match (model, accel) {
        (CpuModel::Named(name), _) => name.clone(),
        (_, Accel::Kvm) => "host,migratable=on".to_owned(),
        (_, Accel::Tcg) => {
            // KubeVirt's own choice for emulation: all that QEMU can emulate, so that kernels built for
            // x86-64-v2 and v3 start, which `qemu64` cannot run.
            notices.push(Notice::new(
                MODEL,
                "under emulation there is no host CPU to pass on: the guest gets model `max`",
            ));
            "max".to_owned()
        }
    }
}

fn enforces(cpu: &Cpu, accel: Accel) -> bool {
    let forced = cpu
        .features
        .iter()
        .any(|feature| feature.policy == FeaturePolicy::Force && is_cpuid(&feature.name));
    let required = cpu
        .features
        .iter()
        .any(|feature| feature.policy == FeaturePolicy::Require && is_cpuid(&feature.name));
    let named = matches!(cpu.model, CpuModel::Named(_)) && accel == Accel::Kvm;
    !forced && (required || named)
}

fn rendered(feature: &CpuFeature, host: &CpuIdentity, enforce: bool) -> Option<String> {
    let name = &feature.name;
    match feature.policy {
        FeaturePolicy::Force | FeaturePolicy::Require => Some(format!("{name}={}", feature.value)),
        FeaturePolicy::Optional => {
            (!enforce || host_has(host, name)).then(|| format!("{name}={}", feature.value))
        }
        FeaturePolicy::Disable | FeaturePolicy::Forbid => Some(format!("{name}=off")),
    }
}

/// MPX is gone from CPUs and from KVM, but not from the models that once had it (facts 4.2).
fn needs_mpx_off(cpu: &Cpu) -> bool {
    matches!(cpu.model, CpuModel::Named(_))
        && !cpu.features.iter().any(|feature| feature.name == "mpx")
}

/// A feature of the CPU, which `enforce` looks at.
fn is_cpuid(name: &str) -> bool {
    !is_paravirtual(name) && name != "tsc-frequency"
}

/// Told by the hypervisor, not by the CPU.
fn is_paravirtual(name: &str) -> bool {
    name == "kvm" || name == "kvmclock" || name.starts_with("kvm-") || name.starts_with("hv-")
}

fn is_on(feature: &CpuFeature) -> bool {
    feature.value != "off"
        && !matches!(
            feature.policy,
            FeaturePolicy::Disable | FeaturePolicy::Forbid
        )
}

fn forbidden(cpu: &Cpu, host: &CpuIdentity, accel: Accel) -> Vec<Violation> {
    let concerned = |feature: &&CpuFeature| {
        accel == Accel::Kvm
            && feature.policy == FeaturePolicy::Forbid
            && host_has(host, &feature.name)
    };
    cpu.features
        .iter()
        .filter(concerned)
        .map(|feature| {
            Violation::new(
                FEATURES,
                format!(
                    "`{}` is forbidden, and this host's CPU has it",
                    feature.name
                ),
                "policy `disable` hides it from the guest",
            )
        })
        .collect()
}

/// Names and values that would end their part of the argument.
fn unspeakable(cpu: &Cpu) -> Vec<Violation> {
    let fits = |text: &str| {
        !text.is_empty() && !text.contains([',', '=']) && !text.contains(char::is_control)
    };
    let mut violations = Vec::new();
    if let CpuModel::Named(name) = &cpu.model
        && (!fits(name) || matches!(name.as_str(), "help" | "?"))
    {
        violations.push(Violation::new(
            MODEL,
            format!("`{name}` cannot be the name of a CPU model"),
            "`qemu-system-x86_64 -cpu help` lists them",
        ));
    }
    for feature in &cpu.features {
        if !fits(&feature.name) || !fits(&feature.value) {
            violations.push(Violation::new(
                FEATURES,
                format!(
                    "`{}={}` cannot be said to QEMU",
                    feature.name, feature.value
                ),
                "neither a feature nor its value may hold a comma or an equals sign",
            ));
        }
    }
    violations
}

/// `/proc/cpuinfo` writes `_` where QEMU writes `-` or `.`, and has a few names of its own.
fn host_has(host: &CpuIdentity, feature: &str) -> bool {
    let wanted = match feature {
        "nx" => "nx".to_owned(),
        "sse3" | "pni" => "pni".to_owned(),
        "tsc-deadline" => "tsc_deadline_timer".to_owned(),
        "lahf-lm" | "lahf_lm" => "lahf_lm".to_owned(),
        other => other.replace(['-', '.'], "_"),
    };
    let plain = |text: &str| text.replace('_', "");
    host.flags
        .iter()
        .any(|flag| *flag == wanted || plain(flag) == plain(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str, value: &str, policy: FeaturePolicy) -> CpuFeature {
        CpuFeature {
            name: name.to_owned(),
            value: value.to_owned(),
            policy,
        }
    }

    fn with(model: CpuModel, features: Vec<CpuFeature>) -> Cpu {
        Cpu {
            model,
            features,
            ..Cpu::default()
        }
    }

    fn host() -> CpuIdentity {
        CpuIdentity {
            flags: ["avx2", "sse4_2", "pni"].map(str::to_owned).to_vec(),
            ..CpuIdentity::default()
        }
    }

    fn argument(cpu_: &Cpu, accel: Accel) -> String {
        cpu(cpu_, &host(), accel).unwrap().argument
    }

    #[test]
    fn the_host_models_are_the_host_cpu_under_kvm_and_max_under_tcg() {
        for model in [CpuModel::HostModel, CpuModel::HostPassthrough] {
            let plain = with(model, Vec::new());
            assert_eq!(argument(&plain, Accel::Kvm), "host,migratable=on");
            let emulated = cpu(&plain, &host(), Accel::Tcg).unwrap();
            assert_eq!(emulated.argument, "max");
            assert_eq!(emulated.notices.len(), 1);
        }
    }

    #[test]
    fn a_required_feature_is_enforced_and_an_optional_one_only_where_the_host_has_it() {
        let both = with(
            CpuModel::HostModel,
            vec![
                feature("avx512f", "on", FeaturePolicy::Require),
                feature("avx2", "on", FeaturePolicy::Optional),
                feature("amx-tile", "on", FeaturePolicy::Optional),
                feature("sse4.2", "on", FeaturePolicy::Disable),
            ],
        );
        assert_eq!(
            argument(&both, Accel::Kvm),
            "host,migratable=on,avx512f=on,avx2=on,sse4.2=off,enforce"
        );
    }

    #[test]
    fn a_forced_feature_is_not_checked() {
        let forced = with(
            CpuModel::Named("Haswell".to_owned()),
            vec![feature("avx512f", "on", FeaturePolicy::Force)],
        );
        assert_eq!(argument(&forced, Accel::Kvm), "Haswell,avx512f=on,mpx=off");
    }

    #[test]
    fn hyper_v_is_left_out_under_emulation_and_said_so() {
        let windows = with(
            CpuModel::Named("Nehalem".to_owned()),
            vec![
                feature("hv-relaxed", "on", FeaturePolicy::Force),
                feature("hv-spinlocks", "8191", FeaturePolicy::Force),
                feature("kvm", "off", FeaturePolicy::Disable),
            ],
        );
        assert_eq!(
            argument(&windows, Accel::Kvm),
            "Nehalem,hv-relaxed=on,hv-spinlocks=8191,kvm=off,mpx=off,enforce"
        );
        let emulated = cpu(&windows, &host(), Accel::Tcg).unwrap();
        assert_eq!(emulated.argument, "Nehalem,kvm=off,mpx=off");
        assert!(
            emulated.notices[0]
                .message
                .contains("`hv-relaxed`, `hv-spinlocks`")
        );
    }

    #[test]
    fn a_forbidden_feature_of_the_host_is_a_violation() {
        let forbidding = with(
            CpuModel::HostModel,
            vec![feature("sse4.2", "off", FeaturePolicy::Forbid)],
        );
        assert_eq!(cpu(&forbidding, &host(), Accel::Kvm).unwrap_err().len(), 1);
        assert_eq!(argument(&forbidding, Accel::Tcg), "max,sse4.2=off");
    }

    #[test]
    fn nothing_can_be_smuggled_past_a_comma() {
        let smuggled = with(
            CpuModel::Named("qemu64,+vmx".to_owned()),
            vec![feature("hv-vendor-id", "a,b", FeaturePolicy::Require)],
        );
        assert_eq!(cpu(&smuggled, &host(), Accel::Kvm).unwrap_err().len(), 2);
    }
}

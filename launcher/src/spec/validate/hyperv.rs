//! Hyper-V enlightenments, with what each needs (QEMU: docs/system/i386/hyperv.rst).

use super::cpu_flags::{flag, property};
use super::given;
use crate::spec::cpu::{CpuFeature, FeaturePolicy};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{Domain, Hyperv, State};
use crate::vmi::path::Path;

/// KubeVirt's default, and the least that Hyper-V knows.
const SPINLOCK_RETRIES: u32 = 4096;
const LEAST_SPINLOCK_RETRIES: u32 = 4095;
/// CPUID leaf 0x40000000 holds twelve bytes of it.
const VENDOR_ID_BYTES: usize = 12;

const TIME: &str = "spec.domain.clock.timer.hyperv";

/// QEMU's flag, the field that asks for it, and what the field says: nothing, on or off.
struct Enlightenment {
    flag: &'static str,
    field: Path,
    on: Option<bool>,
}

/// Flag and what it needs, dependants first, so that one pass settles all.
const NEEDS: [(&str, &str); 9] = [
    ("hv-stimer-direct", "hv-stimer"),
    ("hv-stimer", "hv-synic"),
    ("hv-stimer", "hv-time"),
    ("hv-synic", "hv-vpindex"),
    ("hv-tlbflush-ext", "hv-tlbflush"),
    ("hv-tlbflush-direct", "hv-vapic"),
    ("hv-tlbflush", "hv-vpindex"),
    ("hv-ipi", "hv-vpindex"),
    ("hv-evmcs", "hv-vapic"),
];

pub(super) fn flags(domain: &Domain, out: &mut Findings) -> Vec<CpuFeature> {
    let features = &domain.features;
    let passthrough = features
        .hyperv_passthrough
        .as_ref()
        .is_some_and(State::is_on);
    if passthrough && features.hyperv.is_some() {
        out.refuse(
            &Path::of("spec.domain.features.hypervPassthrough"),
            "it takes every enlightenment the host has, and `hyperv` names some",
            "keep one of the two",
        );
    }
    let nothing = Hyperv::default();
    let hyperv = features.hyperv.as_ref().unwrap_or(&nothing);
    let mut all = enlightenments(hyperv);
    all.push(Enlightenment {
        flag: "hv-time",
        field: Path::of(TIME),
        on: domain
            .clock
            .timer
            .hyperv
            .as_ref()
            .map(|timer| timer.present.unwrap_or(true)),
    });
    settle_needs(&mut all, out);
    let mut flags: Vec<_> = passthrough
        .then(|| flag("hv-passthrough", true))
        .into_iter()
        .collect();
    flags.extend(all.iter().filter_map(|one| Some(flag(one.flag, one.on?))));
    flags.extend(spinlocks(hyperv, out));
    flags.extend(vendor_id(hyperv, out));
    if all
        .iter()
        .any(|one| one.flag == "hv-evmcs" && one.on == Some(true))
    {
        flags.push(CpuFeature {
            policy: FeaturePolicy::Require,
            ..flag("vmx", true)
        });
    }
    flags
}

/// In the order of the API.
fn enlightenments(hyperv: &Hyperv) -> Vec<Enlightenment> {
    let at = Path::of("spec.domain.features.hyperv");
    let plain = |flag, name: &'static str, state: &Option<State>| Enlightenment {
        flag,
        field: at.key(name),
        on: state.as_ref().map(State::is_on),
    };
    let stimer = hyperv.synictimer.as_ref();
    let tlbflush = hyperv.tlbflush.as_ref();
    let outer = |flag, name: &'static str, enabled: Option<Option<bool>>| Enlightenment {
        flag,
        field: at.key(name),
        on: enabled.map(|enabled| enabled.unwrap_or(true)),
    };
    // A part of something that is off is not asked for.
    let inner = |flag,
                 name: &'static str,
                 part: &'static str,
                 outer: Option<Option<bool>>,
                 state: Option<&State>| {
        Enlightenment {
            flag,
            field: at.key(name).key(part),
            on: state
                .filter(|_| outer != Some(Some(false)))
                .map(State::is_on),
        }
    };
    let stimer_on = stimer.map(|stimer| stimer.enabled);
    let tlbflush_on = tlbflush.map(|tlbflush| tlbflush.enabled);
    vec![
        plain("hv-relaxed", "relaxed", &hyperv.relaxed),
        plain("hv-vapic", "vapic", &hyperv.vapic),
        plain("hv-vpindex", "vpindex", &hyperv.vpindex),
        plain("hv-runtime", "runtime", &hyperv.runtime),
        plain("hv-synic", "synic", &hyperv.synic),
        outer("hv-stimer", "synictimer", stimer_on),
        inner(
            "hv-stimer-direct",
            "synictimer",
            "direct",
            stimer_on,
            stimer.and_then(|it| it.direct.as_ref()),
        ),
        plain("hv-reset", "reset", &hyperv.reset),
        plain("hv-frequencies", "frequencies", &hyperv.frequencies),
        plain(
            "hv-reenlightenment",
            "reenlightenment",
            &hyperv.reenlightenment,
        ),
        outer("hv-tlbflush", "tlbflush", tlbflush_on),
        inner(
            "hv-tlbflush-direct",
            "tlbflush",
            "direct",
            tlbflush_on,
            tlbflush.and_then(|it| it.direct.as_ref()),
        ),
        inner(
            "hv-tlbflush-ext",
            "tlbflush",
            "extended",
            tlbflush_on,
            tlbflush.and_then(|it| it.extended.as_ref()),
        ),
        plain("hv-ipi", "ipi", &hyperv.ipi),
        plain("hv-evmcs", "evmcs", &hyperv.evmcs),
    ]
}

/// What is needed and not spoken of is turned on, as KubeVirt does; what is needed and off is a contradiction.
fn settle_needs(all: &mut [Enlightenment], out: &mut Findings) {
    for (dependant, needed) in NEEDS {
        let Some(field) = all
            .iter()
            .find(|one| one.flag == dependant && one.on == Some(true))
            .map(|one| one.field.clone())
        else {
            continue;
        };
        let Some(needed) = all.iter_mut().find(|one| one.flag == needed) else {
            continue;
        };
        if needed.on == Some(false) {
            out.refuse(
                &field,
                format!("it needs `{}`, which is off", needed.field),
                "turn that on, or this off",
            );
        } else {
            needed.on = Some(true);
            // Whoever asked for this one asks for what it needs.
            needed.field = field;
        }
    }
}

fn spinlocks(hyperv: &Hyperv, out: &mut Findings) -> Option<CpuFeature> {
    let spinlocks = hyperv
        .spinlocks
        .as_ref()
        .filter(|it| it.enabled.unwrap_or(true))?;
    let retries = spinlocks.spinlocks.unwrap_or(SPINLOCK_RETRIES);
    if retries < LEAST_SPINLOCK_RETRIES {
        out.refuse(
            &Path::of("spec.domain.features.hyperv.spinlocks.spinlocks"),
            format!("`{retries}` retries are less than {LEAST_SPINLOCK_RETRIES}"),
            format!("leave it out for {SPINLOCK_RETRIES}"),
        );
    }
    Some(property("hv-spinlocks", retries))
}

fn vendor_id(hyperv: &Hyperv, out: &mut Findings) -> Option<CpuFeature> {
    let vendor = hyperv
        .vendorid
        .as_ref()
        .filter(|it| it.enabled.unwrap_or(true))?;
    let at = Path::of("spec.domain.features.hyperv.vendorid.vendorid");
    let text = given(&vendor.vendorid).unwrap_or_default();
    let good = (1..=VENDOR_ID_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte));
    if !good {
        out.refuse(
            &at,
            format!("`{}` is not a vendor id", crate::vmi::shortened(text)),
            format!("give 1 to {VENDOR_ID_BYTES} letters and digits"),
        );
    }
    Some(property("hv-vendor-id", text))
}

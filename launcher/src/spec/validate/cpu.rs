//! vCPUs: topology, model, features.

use std::collections::HashSet;

use super::cpu_flags::flags;
use super::resources::{amount, request_within_limit};
use super::text::is_option_word;
use super::{choose, given, pinning};
use crate::quantity::Quantity;
use crate::spec::cpu::{Cpu, CpuFeature, CpuModel, FeaturePolicy};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{self, Vmi};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// KubeVirt's bound (facts 4.0).
const MOST_VCPUS: u64 = 512;

pub(super) fn cpu(vmi: &Vmi, out: &mut Findings) -> Cpu {
    let resources = &vmi.spec.domain.resources;
    let (requests, limits) = (
        resources.requests.cpu.as_ref(),
        resources.limits.cpu.as_ref(),
    );
    request_within_limit("cpu", (requests, limits), Quantity::milli_value, out);
    let (sockets, cores, threads) = topology(vmi, out);
    let written = &vmi.spec.domain.cpu;
    let model = model(written, out);
    let mut features = named_features(&written.features, out);
    let named: HashSet<String> = features
        .iter()
        .map(|feature| feature.name.clone())
        .collect();
    // MPX is gone from CPUs and from QEMU's idea of most models (facts 4.2).
    if matches!(model, CpuModel::Named(_)) && !named.contains("mpx") {
        features.push(CpuFeature {
            name: "mpx".to_owned(),
            value: "off".to_owned(),
            policy: FeaturePolicy::Disable,
        });
    }
    let flags = flags(vmi, out);
    features.extend(flags.into_iter().filter(|flag| !named.contains(&flag.name)));
    let asked = Cpu {
        sockets,
        cores,
        threads,
        max_sockets: max_sockets(written, sockets, out),
        model,
        features,
        ..Cpu::default()
    };
    pinning::pinning(vmi, asked, out)
}

/// Go's JSON leaves zero out: it is an absent one.
fn max_sockets(written: &mirror::Cpu, sockets: u32, out: &mut Findings) -> u32 {
    let at = Path::of("spec.domain.cpu.maxSockets");
    match written.max_sockets {
        None | Some(0) => sockets,
        Some(most) if most < sockets => {
            out.refuse(
                &at,
                format!("`{most}` are fewer than the `{sockets}` that the guest starts with"),
                "raise it, or leave it out",
            );
            sockets
        }
        Some(most) => {
            out.notice(&at, "room for vCPU hotplug, which this version does not have: the guest starts with `sockets` and keeps them");
            most
        }
    }
}

/// Sockets, cores, threads; without any of them as many sockets as CPUs in the limit, else in the request.
fn topology(vmi: &Vmi, out: &mut Findings) -> (u32, u32, u32) {
    let written = &vmi.spec.domain.cpu;
    let mut at = Path::of("spec.domain.cpu");
    let mut hint = "lower `sockets`, `cores` or `threads`";
    let fields = [
        ("sockets", written.sockets),
        ("cores", written.cores),
        ("threads", written.threads),
    ];
    let mut counts = fields.map(|(name, count)| match count {
        Some(0) => {
            out.refuse(&at.key(name), "it is 0", "give at least 1, or leave it out");
            1
        }
        count => count.unwrap_or(1),
    });
    if fields.iter().all(|(_, count)| count.is_none())
        && !out.refused_within(&at)
        && let Some((sockets, source)) = sockets_of_resources(vmi)
    {
        counts[0] = sockets;
        at = source;
        hint = "lower it, or say how many vCPUs there are by `spec.domain.cpu.sockets`";
    }
    let vcpus = counts.iter().fold(1, |product: u64, count| {
        product.saturating_mul(u64::from(*count))
    });
    if vcpus > MOST_VCPUS {
        out.refuse(&at, format!("it makes more than {MOST_VCPUS} vCPUs"), hint);
        return (1, 1, 1);
    }
    counts.into()
}

fn sockets_of_resources(vmi: &Vmi) -> Option<(u32, Path)> {
    let resources = &vmi.spec.domain.resources;
    let at = Path::of("spec.domain.resources");
    let of = |quantity: &Option<Quantity>, list| {
        let count = amount(
            quantity.as_ref(),
            &at,
            Quantity::value,
            &mut Findings::default(),
        )?;
        Some((
            u32::try_from(count).unwrap_or(u32::MAX).max(1),
            at.key(list).key("cpu"),
        ))
    };
    of(&resources.limits.cpu, "limits").or_else(|| of(&resources.requests.cpu, "requests"))
}

fn model(written: &mirror::Cpu, out: &mut Findings) -> CpuModel {
    match given(&written.model) {
        None | Some("host-model") => CpuModel::HostModel,
        Some("host-passthrough") => CpuModel::HostPassthrough,
        Some(name) => {
            if !is_option_word(name) {
                out.refuse(
                    &Path::of("spec.domain.cpu.model"),
                    format!("`{}` is not the name of a CPU model", shortened(name)),
                    "use `host-model`, `host-passthrough`, or a model of QEMU's such as `Skylake-Server`",
                );
            }
            CpuModel::Named(name.to_owned())
        }
    }
}

fn named_features(written: &[mirror::CpuFeature], out: &mut Findings) -> Vec<CpuFeature> {
    let list = Path::of("spec.domain.cpu.features");
    let mut seen = HashSet::new();
    let mut features = Vec::new();
    for (index, feature) in written.iter().enumerate() {
        let at = list.index(index);
        let policy = policy(feature, &at, out);
        match given(&feature.name) {
            None => out.refuse(
                &at.key("name"),
                "it is missing",
                "name a CPU flag, such as `avx512f`",
            ),
            Some(name) if !is_option_word(name) => out.refuse(
                &at.key("name"),
                format!("`{}` is not the name of a CPU flag", shortened(name)),
                "use a flag as QEMU names it, such as `avx512f`",
            ),
            Some(name) if !seen.insert(name) => out.refuse(
                &at.key("name"),
                format!("`{name}` is there twice"),
                "keep one of them",
            ),
            Some(name) => features.push(CpuFeature {
                name: name.to_owned(),
                value: value_of(policy).to_owned(),
                policy,
            }),
        }
    }
    features
}

fn policy(feature: &mirror::CpuFeature, at: &Path, out: &mut Findings) -> FeaturePolicy {
    let policies = [
        ("require", FeaturePolicy::Require),
        ("force", FeaturePolicy::Force),
        ("optional", FeaturePolicy::Optional),
        ("disable", FeaturePolicy::Disable),
        ("forbid", FeaturePolicy::Forbid),
    ];
    choose(
        &feature.policy,
        &at.key("policy"),
        "a policy for CPU flags",
        &policies,
        out,
    )
    .unwrap_or(FeaturePolicy::Require)
}

fn value_of(policy: FeaturePolicy) -> &'static str {
    match policy {
        FeaturePolicy::Force | FeaturePolicy::Require | FeaturePolicy::Optional => "on",
        FeaturePolicy::Disable | FeaturePolicy::Forbid => "off",
    }
}

//! Guest RAM.

use hugepages::Bytes;

use super::resources::{request_within_limit, size};
use crate::quantity::Quantity;
use crate::spec::memory::Memory;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::Vmi;
use crate::vmi::path::Path;

/// Below this no firmware starts.
const LEAST: Bytes = Bytes(4 << 20);

pub(super) fn memory(vmi: &Vmi, out: &mut Findings) -> Memory {
    let resources = &vmi.spec.domain.resources;
    let limit = resources.limits.memory.as_ref();
    request_within_limit(
        "memory",
        (resources.requests.memory.as_ref(), limit),
        Quantity::value,
        out,
    );
    let guest = match wanted(vmi) {
        Some((quantity, at)) => {
            within_limit(quantity, limit, &at, out);
            size(quantity, LEAST, &at, out).map(|bytes| whole_mebibytes(bytes, quantity, &at, out))
        }
        None => {
            missing(out);
            None
        }
    };
    Memory {
        guest: guest.unwrap_or(LEAST),
        free_page_reporting: !is_reporting_disabled(vmi),
    }
}

/// `memory.guest`, else the request, else the limit: zero counts as absent in resources (facts 4.3).
fn wanted(vmi: &Vmi) -> Option<(&Quantity, Path)> {
    let domain = &vmi.spec.domain;
    let resource = |list, quantity: &'_ Option<Quantity>| -> Option<Path> {
        let is_some = quantity
            .as_ref()
            .is_some_and(|quantity| quantity.value() != Ok(0));
        is_some.then(|| Path::of("spec.domain.resources").key(list).key("memory"))
    };
    let (requests, limits) = (
        &domain.resources.requests.memory,
        &domain.resources.limits.memory,
    );
    if let Some(guest) = &domain.memory.guest {
        Some((guest, Path::of("spec.domain.memory.guest")))
    } else if let Some(at) = resource("requests", requests) {
        Some((requests.as_ref()?, at))
    } else {
        let at = resource("limits", limits)?;
        Some((limits.as_ref()?, at))
    }
}

fn missing(out: &mut Findings) {
    // Where it stands in the wrong place or has a wrong type, that has been said.
    let places = [
        "spec.domain.memory",
        "spec.domain.resources",
        "spec.memory",
        "spec.resources",
    ];
    if places
        .into_iter()
        .any(|place| out.refused_within(&Path::of(place)))
    {
        return;
    }
    out.refuse(
        &Path::of("spec.domain.memory.guest"),
        "the guest has no memory",
        "give `spec.domain.memory.guest`, such as `1Gi`",
    );
}

fn within_limit(guest: &Quantity, limit: Option<&Quantity>, at: &Path, out: &mut Findings) {
    let (Ok(bytes), Some(limit)) = (guest.value(), limit) else {
        return;
    };
    // A guest that takes the request as its size has been compared already.
    if at.last_key() == Some("guest") && limit.value().is_ok_and(|most| most > 0 && bytes > most) {
        out.refuse(
            at,
            format!("`{guest}` is more than the pod's memory limit `{limit}`"),
            "raise `spec.domain.resources.limits.memory` above it: QEMU itself needs some as well",
        );
    }
}

/// The machine's memory is made of whole MiB: `1024M` gets the next.
fn whole_mebibytes(bytes: Bytes, written: &Quantity, at: &Path, out: &mut Findings) -> Bytes {
    if bytes.is_multiple_of(Bytes::MIB) {
        return bytes;
    }
    let rounded = Bytes(bytes.0.next_multiple_of(Bytes::MIB.0));
    out.notice(
        at,
        format!("`{written}` is not a whole number of MiB: the guest gets `{rounded}`"),
    );
    rounded
}

fn is_reporting_disabled(vmi: &Vmi) -> bool {
    let annotation = vmi
        .metadata
        .annotations
        .get("kubevirt.io/free-page-reporting-disabled");
    annotation.is_some_and(|value| value == "true")
}

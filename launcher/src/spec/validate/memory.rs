//! Guest RAM.

use hugepages::{Bytes, PageSize};

use super::given;
use super::resources::{request_within_limit, size};
use crate::quantity::Quantity;
use crate::spec::memory::Memory;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::Vmi;
use crate::vmi::path::Path;
use crate::vmi::shortened;

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
    let hugepages = page_size(vmi, out);
    let guest = match wanted(vmi) {
        Some((quantity, at)) => {
            within_limit(quantity, limit, &at, out);
            let bytes = size(quantity, LEAST, &at, out);
            match hugepages {
                Some(page) => bytes.map(|bytes| whole_pages(bytes, page, &at, out)),
                None => bytes.map(|bytes| whole_mebibytes(bytes, quantity, &at, out)),
            }
        }
        None => {
            missing(out);
            None
        }
    };
    Memory {
        guest: guest.unwrap_or(LEAST),
        hugepages,
        memfd: vmi
            .metadata
            .annotations
            .get("kubevirt.io/memfd")
            .is_none_or(|value| value != "false"),
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

fn page_size(vmi: &Vmi, out: &mut Findings) -> Option<PageSize> {
    let at = Path::of("spec.domain.memory.hugepages.pageSize");
    let hint = "give a size that the hosts have, such as `2Mi` or `1Gi`";
    let Some(text) = given(&vmi.spec.domain.memory.hugepages.as_ref()?.page_size) else {
        out.refuse(&at, "it is missing", hint);
        return None;
    };
    let size = text
        .parse::<Quantity>()
        .ok()
        .and_then(|quantity| quantity.to_bytes().ok());
    let size = size.and_then(|bytes| bytes.to_string().parse().ok());
    if size.is_none() {
        out.refuse(
            &at,
            format!("`{}` is not the size of a huge page", shortened(text)),
            hint,
        );
    }
    size
}

fn whole_pages(bytes: Bytes, page: PageSize, at: &Path, out: &mut Findings) -> Bytes {
    if page.count(bytes).is_none() {
        let (more, fewer) = (
            Bytes(bytes.0.next_multiple_of(page.0.0)),
            Bytes(bytes.0 - bytes.0 % page.0.0),
        );
        let hint = if fewer == Bytes(0) {
            format!("give `{more}`, or smaller pages")
        } else {
            format!("give `{fewer}` or `{more}`")
        };
        out.refuse(
            at,
            format!("`{bytes}` is not a whole number of pages of `{page}`"),
            hint,
        );
    }
    bytes
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

//! Annotations and labels that ask a launcher for something.

use super::fields::{ANNOTATIONS, Asked};
use super::findings::Findings;
use super::mirror::Metadata;
use super::path::Path;

pub(super) fn judge(metadata: &Metadata, findings: &mut Findings) {
    for (place, pairs) in [
        ("annotations", &metadata.annotations),
        ("labels", &metadata.labels),
    ] {
        for field in ANNOTATIONS {
            let asked = pairs
                .get(field.name)
                .is_some_and(|value| match field.asked {
                    Asked::Present => !value.is_empty(),
                    Asked::Filled | Asked::Enabled => value == "true",
                });
            if asked {
                findings.refuse(
                    &Path::of("metadata").key(place).key(field.name),
                    field.what,
                    field.hint,
                );
            }
        }
    }
    pci_topology(metadata, findings);
}

/// Older schemes give the same devices other addresses (facts 4.8).
fn pci_topology(metadata: &Metadata, findings: &mut Findings) {
    const ANNOTATION: &str = "kubevirt.io/pci-topology-version";
    if let Some(version) = metadata
        .annotations
        .get(ANNOTATION)
        .filter(|version| *version != "v3")
    {
        findings.notice(
            &Path::of("metadata.annotations").key(ANNOTATION),
            format!("devices are laid out by scheme `v3`, not `{version}`: a guest made for that one may see them move"),
        );
    }
}

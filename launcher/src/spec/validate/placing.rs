//! Annotations of ours that placement goes by.

use super::choose;
use crate::placement::Policy;
use crate::spec::host_device;
use crate::spec::placing::{MEMORY, MemoryNear, POLICY, PREFIX, Placing};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::Metadata;
use crate::vmi::path::Path;

const NEAR: [(&str, MemoryNear); 2] =
    [("devices", MemoryNear::Devices), ("cpus", MemoryNear::Cpus)];

pub(super) fn placing(metadata: &Metadata, out: &mut Findings) -> Placing {
    let at = Path::of("metadata.annotations");
    let annotation = |name: &str| metadata.annotations.get(name).cloned();
    let policy = choose(
        &annotation(POLICY),
        &at.key(POLICY),
        "a placement policy",
        &Policy::ALL.map(|policy| (policy.name(), policy)),
        out,
    );
    let memory = choose(
        &annotation(MEMORY),
        &at.key(MEMORY),
        "something that memory can be near to",
        &NEAR,
        out,
    );
    for name in metadata.annotations.keys() {
        if name.starts_with(PREFIX)
            && ![POLICY, MEMORY, host_device::ANNOTATION].contains(&name.as_str())
        {
            out.refuse(
                &at.key(name.clone()),
                "this program has no such annotation",
                format!(
                    "there are `{POLICY}`, `{MEMORY}` and `{}`",
                    host_device::ANNOTATION
                ),
            );
        }
    }
    Placing {
        policy: policy.unwrap_or_default(),
        memory: memory.unwrap_or_default(),
    }
}

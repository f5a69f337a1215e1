//! Is it a VirtualMachineInstance, and of a version that is read?

use super::findings::Findings;
use super::path::Path;
use super::tree::Node;
use super::tree_de::shortened;
use crate::refusal::{Refusal, Violation};

const KIND: &str = "VirtualMachineInstance";
const VERSIONS: [&str; 2] = ["kubevirt.io/v1", "kubevirt.io/v1alpha3"];

/// Other kinds that people hand in, and the way from each to a VMI.
const OTHERS: [(&str, &str); 8] = [
    (
        "VirtualMachine",
        "its `spec.template` is one but for `apiVersion`, `kind` and `metadata.name`; of a running VM, \
         `kubectl get vmi NAME -o yaml` prints it",
    ),
    ("VirtualMachineInstanceList", "give one of its items"),
    ("List", "give one of its items"),
    (
        "VirtualMachineInstanceReplicaSet",
        "its `spec.template` is one but for `apiVersion`, `kind` and `metadata.name`",
    ),
    (
        "VirtualMachinePool",
        "of a running VM, `kubectl get vmi NAME -o yaml` prints it",
    ),
    (
        "VirtualMachineInstancePreset",
        "presets are gone from KubeVirt: write the fields into the VMI",
    ),
    (
        "Template",
        "process the template first, then take the VMI of the VirtualMachine in it",
    ),
    ("Pod", "the pod is made from the VMI: give the VMI itself"),
];

/// # Errors
/// It is not, and reading its fields would only add noise.
pub(super) fn check(tree: &Node) -> Result<(), Refusal> {
    let path = Path::of("kind");
    let (message, hint) = match tree.get(&path) {
        Some(Node::Text(kind)) if kind == KIND => return Ok(()),
        Some(Node::Text(kind)) => (
            format!("`{}` is not a `{KIND}`", shortened(kind)),
            OTHERS
                .iter()
                .find(|(name, _)| name == kind)
                .map_or("give a VirtualMachineInstance", |(_, hint)| hint),
        ),
        Some(_) => (
            "it must be a string".to_owned(),
            "write `kind: VirtualMachineInstance`",
        ),
        None => (
            "it is missing".to_owned(),
            "write `kind: VirtualMachineInstance`",
        ),
    };
    Err(Refusal::new(vec![Violation::new(
        path.to_string(),
        message,
        hint,
    )]))
}

pub(super) fn check_version(tree: &Node, findings: &mut Findings) {
    let path = Path::of("apiVersion");
    let hint = format!("`{}` and `{}` are read", VERSIONS[0], VERSIONS[1]);
    match tree.get(&path) {
        Some(Node::Text(version)) if VERSIONS.contains(&version.as_str()) => {}
        Some(Node::Text(version)) => findings.refuse(
            &path,
            format!(
                "`{}` is not a version of the API that is read",
                shortened(version)
            ),
            hint,
        ),
        Some(_) => {} // A wrong type, which the mirror finds.
        None => findings.refuse(&path, "it is missing", hint),
    }
}

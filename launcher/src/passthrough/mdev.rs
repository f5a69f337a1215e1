//! What sysfs already shows to be wrong with a mediated device, each with what mends it.

use uuid::Uuid;

use super::Assigned;
use crate::host::mdev::MdevFacts;
use crate::refusal::Violation;

/// Everything wrong with one device. Its group is opened before QEMU, as any other's.
pub fn check(assigned: &Assigned, uuid: Uuid, facts: Option<&MdevFacts>) -> Vec<Violation> {
    let refuse = |message: String, hint: &str| Violation::new(assigned.path.clone(), message, hint);
    let Some(facts) = facts else {
        return vec![refuse(
            format!(
                "there is no mediated device `{uuid}` ({} says there is)",
                assigned.source
            ),
            "they do not outlive the node's restart: KubeVirt's `mediatedDevicesConfiguration`, or `mdevctl start`, makes it anew",
        )];
    };
    let kind = facts.kind.as_deref().unwrap_or("of no type");
    let mut violations = Vec::new();
    if facts.driver.is_none() {
        violations.push(refuse(
            format!("no driver has the mediated device `{uuid}`, {kind}"),
            "load its maker's vfio driver on the host, or `modprobe vfio_mdev`",
        ));
    }
    if facts.group.is_none() {
        violations.push(refuse(
            format!("the mediated device `{uuid}`, {kind}, is in no IOMMU group"),
            "its maker's driver on the host must register it with vfio; see the kernel log there",
        ));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passthrough::Host;

    #[test]
    fn each_wrong_names_what_mends_it() {
        let uuid: Uuid = "4b20d080-1b54-4048-85b3-a6a62d165c01".parse().unwrap();
        let assigned = Assigned {
            name: "vgpu".to_owned(),
            path: "spec.domain.devices.gpus[0]".to_owned(),
            device: Host::Mdev(uuid),
            source: "MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_A10-4Q".to_owned(),
        };
        let mut facts = MdevFacts {
            kind: Some("nvidia-63 (GRID A10-4Q)".to_owned()),
            driver: Some("vfio_mdev".to_owned()),
            group: Some(71),
            parent: None,
            node: None,
        };
        assert_eq!(check(&assigned, uuid, Some(&facts)), []);
        (facts.driver, facts.group) = (None, None);
        let all = [
            check(&assigned, uuid, None),
            check(&assigned, uuid, Some(&facts)),
        ];
        let text: Vec<String> = all.concat().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}

//! A virtual function as the NIC of a bridge: its driver stays on the host, its link is in the pod.
//!
//! The guest gets the address that the CNI set on the VF, so the VF's link takes another one: a bridge hands frames to its
//! ports' own addresses to nobody. The guest's becomes one of the VF's further addresses, since a VF does not hear all
//! frames. Its physical function allows neither unless it trusts the VF, and drops what the guest sends while it checks
//! for spoofed addresses.

use serde::{Deserialize, Serialize};

use crate::host::netdev::LinkVf;
use crate::refusal::Notice;

/// What is needed to say what must be changed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgedVf {
    /// PCI address of the physical function.
    pub physical: String,
    /// The VF's number there.
    pub number: Option<u32>,
}

impl From<&LinkVf> for BridgedVf {
    fn from(vf: &LinkVf) -> Self {
        Self {
            physical: vf.physical.to_string(),
            number: vf.number,
        }
    }
}

impl BridgedVf {
    /// Which VF it is.
    pub fn name(&self) -> String {
        match self.number {
            Some(number) => format!("VF {number} of `{}`", self.physical),
            None => format!("a VF of `{}`", self.physical),
        }
    }

    /// What its node's administrator, or the SR-IOV CNI for one, sets.
    pub fn command(&self) -> String {
        let number = self
            .number
            .map_or_else(|| "NUMBER".to_owned(), |number| number.to_string());
        format!(
            "`ip link set PF vf {number} trust on spoofchk off` on the host, where PF is the link of `{}` (`trust: \"on\"` and `spoofchk: \"off\"` in the SR-IOV CNI's configuration)",
            self.physical
        )
    }

    /// The physical function's settings cannot be seen from a pod.
    pub(super) fn notice(&self, path: &str, link: &str) -> Notice {
        Notice::new(
            path,
            format!(
                "`{link}` is {}: bridged it carries the guest only if it is trusted and not checked for spoofed addresses, which a pod cannot see; {} sees to it, and `sriov: {{}}` needs neither",
                self.name(),
                self.command()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_says_what_to_set_and_where() {
        let known = BridgedVf {
            physical: "0000:41:00.0".to_owned(),
            number: Some(3),
        };
        let unknown = BridgedVf {
            number: None,
            ..known.clone()
        };
        let path = "spec.domain.devices.interfaces[1]";
        let text = [known, unknown].map(|vf| vf.notice(path, "net1").message);
        insta::assert_snapshot!(text.join("\n"));
    }
}

//! How an interface is bound to its network.

use super::dhcp::ports;
use super::networks::{Behind, Source};
use crate::net::mac::MacAddr;
use crate::spec::nic::Binding;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{Interface, Vmi};
use crate::vmi::path::Path;

/// The annotation or label that asks for Istio's proxy in the pod.
const ISTIO: &str = "sidecar.istio.io/inject";
/// Of the bridge of every masquerade (facts 7.3).
const BRIDGE_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0]);

/// Whether forwarded ports are asked for.
pub(super) fn has_ports(written: &Interface) -> bool {
    !written.ports.is_empty() || !written.port_ranges.is_empty()
}

/// The interface's binding, where it has one that its network can carry.
pub(super) fn binding(
    written: &Interface,
    network: &Behind,
    path: &Path,
    vmi: &Vmi,
    out: &mut Findings,
) -> Option<Binding> {
    let ports = ports(written, path, out);
    match (&written.masquerade, &written.bridge, &network.source) {
        (Some(_), Some(_), _) => {
            out.refuse(
                path,
                "it has two bindings, `masquerade` and `bridge`",
                "keep one of the two",
            );
            None
        }
        (Some(_), None, Some(Source::Pod(cidr, cidr6))) => {
            reserved_mac(written, path, out);
            Some(Binding::Masquerade {
                cidr: *cidr,
                cidr6: *cidr6,
                ports,
                istio: istio(vmi, path, out),
            })
        }
        (Some(_), None, Some(_)) => {
            out.refuse(
                &path.key("masquerade"),
                format!(
                    "`{}` is not a `pod` network, and only that one can be masqueraded",
                    network.path
                ),
                "use `bridge: {}`",
            );
            None
        }
        (None, Some(_), Some(_)) => Some(Binding::Bridge),
        (None, None, Some(_)) => {
            // A binding that is not done has been refused by name.
            if !out.refused_within(path) {
                out.notice(
                    path,
                    "the interface names no binding: it gets `bridge: {}`, KubeVirt's default; `masquerade: {}` would \
                     be NAT behind the pod's address",
                );
            }
            Some(Binding::Bridge)
        }
        (_, _, None) => None,
    }
}

/// The guest's gateway would have the guest's own address.
fn reserved_mac(written: &Interface, path: &Path, out: &mut Findings) {
    let mac = written.mac_address.as_deref().unwrap_or_default();
    if mac.parse() == Ok(BRIDGE_MAC) {
        out.refuse(
            &path.key("macAddress"),
            format!("`{BRIDGE_MAC}` is the address of the guest's gateway"),
            "use another one, such as `02:00:00:00:00:01`",
        );
    }
}

fn istio(vmi: &Vmi, path: &Path, out: &mut Findings) -> bool {
    let metadata = &vmi.metadata;
    // A label of the pod's counts for Istio as the annotation does for KubeVirt.
    let injected = [&metadata.annotations, &metadata.labels]
        .iter()
        .filter_map(|pairs| pairs.get(ISTIO))
        .any(|value| value.eq_ignore_ascii_case("true"));
    if injected {
        out.notice(
            path,
            "Istio's proxy gets the guest's connections first: of what comes from outside only port 22 goes straight \
             to the guest",
        );
    }
    injected
}

//! Who this VM is.

use uuid::{Uuid, uuid};

use super::given;
use super::text::{dns_label, dns_subdomain};
use crate::spec::Identity;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::Vmi;
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// KubeVirt's own name space for UUIDs made from VM names, so that a guest that moves over keeps its own.
const VM_NAMES: Uuid = uuid!("6a1a24a1-4061-4607-8bf4-a3963d0c5895");

pub(super) fn identity(vmi: &Vmi, out: &mut Findings) -> Identity {
    let at = Path::of("metadata");
    if let Some(architecture) = given(&vmi.spec.architecture).filter(|name| *name != "amd64") {
        out.refuse(
            &Path::of("spec.architecture"),
            format!(
                "`{}` guests are not supported by this version",
                shortened(architecture)
            ),
            "use `amd64`",
        );
    }
    let name = given(&vmi.metadata.name).unwrap_or_default();
    if name.is_empty() {
        out.refuse(
            &at.key("name"),
            "it is missing",
            "give the VM a name, such as `vm-1`",
        );
    } else {
        dns_subdomain(name, &at.key("name"), out);
    }
    let namespace = given(&vmi.metadata.namespace).unwrap_or("default");
    dns_label(namespace, &at.key("namespace"), out);
    let derived = Uuid::new_v5(&VM_NAMES, format!("{namespace}/{name}").as_bytes());
    Identity {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uuid(&vmi.metadata.uid, &at.key("uid"), out).unwrap_or(derived),
        hostname: hostname(vmi, name, out),
        subdomain: subdomain(vmi, out),
    }
}

/// `firmware.uuid`, else KubeVirt's of this VM's name.
pub(super) fn firmware_uuid(vmi: &Vmi, out: &mut Findings) -> Uuid {
    let at = Path::of("spec.domain.firmware.uuid");
    uuid(&vmi.spec.domain.firmware.uuid, &at, out).unwrap_or_else(|| {
        let name = given(&vmi.metadata.name).unwrap_or_default();
        Uuid::new_v5(&VM_NAMES, name.as_bytes())
    })
}

fn uuid(value: &Option<String>, at: &Path, out: &mut Findings) -> Option<Uuid> {
    let text = given(value)?;
    let uuid = Uuid::try_parse(text).ok();
    if uuid.is_none() {
        out.refuse(
            at,
            format!("`{}` is not a UUID", shortened(text)),
            "write one such as `5d307ca9-b3ef-428c-8861-06e72d69f223`, or leave it out: it is derived from the name",
        );
    }
    uuid
}

fn hostname(vmi: &Vmi, name: &str, out: &mut Findings) -> String {
    match given(&vmi.spec.hostname) {
        Some(hostname) => {
            dns_label(hostname, &Path::of("spec.hostname"), out);
            hostname.to_owned()
        }
        None => first_label(name),
    }
}

/// A VM's name may hold dots and be longer than a label.
fn first_label(name: &str) -> String {
    let label = name.split('.').next().unwrap_or_default();
    let cut: String = label.chars().take(63).collect();
    cut.trim_end_matches('-').to_owned()
}

fn subdomain(vmi: &Vmi, out: &mut Findings) -> Option<String> {
    let subdomain = given(&vmi.spec.subdomain)?;
    dns_subdomain(subdomain, &Path::of("spec.subdomain"), out);
    Some(subdomain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_one_label() {
        assert_eq!(first_label("web.shop"), "web");
        assert_eq!(
            first_label(&format!("{}-b", "a".repeat(62))),
            "a".repeat(62)
        );
    }
}

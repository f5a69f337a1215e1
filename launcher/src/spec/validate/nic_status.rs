//! What the status says of an interface: it had these before, and keeps them (facts 4.1, 7.4, 7.7).

use super::given;
use crate::net::mac::MacAddr;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{InterfaceStatus, Vmi};
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// KubeVirt's bound on queues (facts 7.7).
pub(super) const MOST_QUEUES: u32 = 256;

fn find<'a>(name: &str, vmi: &'a Vmi) -> Option<(Path, &'a InterfaceStatus)> {
    let list = Path::of("status.interfaces");
    let mut all = vmi.status.interfaces.iter().enumerate();
    let (index, status) = all.find(|(_, status)| status.name.as_deref() == Some(name))?;
    Some((list.index(index), status))
}

/// The address that the guest had, so that it keeps it over a migration.
pub(super) fn mac(name: &str, vmi: &Vmi, out: &mut Findings) -> Option<MacAddr> {
    let (path, status) = find(name, vmi)?;
    let text = given(&status.mac)?;
    let mac = text.parse::<MacAddr>().ok().filter(|mac| mac.is_unicast());
    if mac.is_none() {
        out.notice(
            &path.key("mac"),
            format!(
                "`{}` is not the address of a NIC, so the pod's is used",
                shortened(text)
            ),
        );
    }
    mac
}

/// The pod's link of the first network, where a CNI plugin does not name it `eth0`.
pub(super) fn pod_link(name: &str, vmi: &Vmi, out: &mut Findings) -> Option<String> {
    let (path, status) = find(name, vmi)?;
    let text = given(&status.pod_interface_name)?;
    // dev_valid_name() of the kernel.
    let fits = text.len() < 16
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
        && !matches!(text, "." | "..");
    if !fits {
        out.notice(
            &path.key("podInterfaceName"),
            format!("`{}` is not the name of a link", shortened(text)),
        );
    }
    fits.then(|| text.to_owned())
}

/// The queues of a NIC that the running domain has: its tap was made with as many.
pub(super) fn queues(name: &str, vmi: &Vmi) -> Option<u16> {
    let (_, status) = find(name, vmi)?;
    let sources = given(&status.info_source)?;
    let in_domain = sources.split(',').any(|source| source.trim() == "domain");
    let count = u16::try_from(status.queue_count?).ok()?;
    (in_domain && (1..=MOST_QUEUES).contains(&u32::from(count))).then_some(count)
}

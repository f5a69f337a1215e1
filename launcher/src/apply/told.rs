//! What the steps of a launch say of themselves.

use crate::plan::LaunchPlan;
use crate::storage::prepare::Prepared;

/// How many images.
pub(super) fn images_made(images: &Prepared) -> String {
    match images.steps.len() {
        0 => "nothing to make".to_owned(),
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    }
}

/// Each interface as its guest sees it, and whose network it is.
pub(super) fn networks(plan: &LaunchPlan) -> String {
    let nics = plan.network.nics.iter().map(|nic| {
        let leased = nic
            .dhcp
            .as_ref()
            .map(|lease| lease.address.addr().to_string());
        let ipv6 = nic
            .ipv6
            .as_ref()
            .map(|told| told.address.addr().to_string());
        let guest: Vec<String> = leased.into_iter().chain(ipv6).collect();
        let guest = match guest.as_slice() {
            [] => "no address of ours".to_owned(),
            addresses => addresses.join(" and "),
        };
        let whose = if nic.is_ours() {
            ""
        } else {
            ", found prepared"
        };
        format!("{} as {guest} on {}{whose}", nic.name, nic.tap.name)
    });
    let nics: Vec<String> = nics.collect();
    if nics.is_empty() {
        "none".to_owned()
    } else {
        nics.join(", ")
    }
}

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
        let guest6 = nic.masquerade().and_then(|nat| nat.guest6);
        let guest = leased
            .or_else(|| guest6.map(|net| net.addr().to_string()))
            .unwrap_or_else(|| "no address of ours".to_owned());
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

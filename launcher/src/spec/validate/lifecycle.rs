//! How the VM starts and ends.

use std::time::Duration;

use super::choose;
use crate::spec::{Lifecycle, RebootPolicy};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::VmiSpec;
use crate::vmi::path::Path;

const DEFAULT_GRACE_SECONDS: u64 = 30;
/// Ten years: a deadline far in the future still is one that clocks can hold.
const MOST_GRACE_SECONDS: u64 = 315_360_000;

pub(super) fn lifecycle(spec: &VmiSpec, out: &mut Findings) -> Lifecycle {
    let start = choose(
        &spec.start_strategy,
        &Path::of("spec.startStrategy"),
        "a start strategy",
        &[("Paused", ())],
        out,
    );
    let reboot = choose(
        &spec.domain.reboot_policy,
        &Path::of("spec.domain.rebootPolicy"),
        "a reboot policy",
        &[
            ("Reboot", RebootPolicy::Reboot),
            ("Terminate", RebootPolicy::Terminate),
        ],
        out,
    );
    Lifecycle {
        grace_period: grace_period(spec.termination_grace_period_seconds, out),
        start_paused: start.is_some(),
        reboot_policy: reboot.unwrap_or_default(),
    }
}

fn grace_period(seconds: Option<i64>, out: &mut Findings) -> Duration {
    let at = Path::of("spec.terminationGracePeriodSeconds");
    let seconds = match seconds.map(u64::try_from) {
        None => DEFAULT_GRACE_SECONDS,
        Some(Ok(seconds)) if seconds <= MOST_GRACE_SECONDS => seconds,
        Some(Ok(seconds)) => {
            out.refuse(
                &at,
                format!("`{seconds}` seconds are more than ten years"),
                "give less",
            );
            DEFAULT_GRACE_SECONDS
        }
        Some(Err(_)) => {
            out.refuse(
                &at,
                "it is negative",
                "give 0 to end the guest at once, or the seconds it needs to power off",
            );
            DEFAULT_GRACE_SECONDS
        }
    };
    Duration::from_secs(seconds)
}

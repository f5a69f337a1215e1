//! The request by which PID 1 starts QEMU, from the plan.

use crate::monitor::protocol::SpawnRequest;
use crate::plan::LaunchPlan;

/// QEMU needs little: where helpers would be, and messages that do not change with the pod's locale.
const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C"), ("PATH", "/usr/local/bin:/usr/bin:/bin")];

/// What the supervisor has for the guest's end beyond the guest's own time: QEMU's `quit` and its deadline. KubeVirt's
/// kubelet comes 15 s after that (facts 2.6).
const BEYOND_GRACE: u64 = 10_000;

/// Everything that decides how QEMU starts. The files follow in the order of the plan's `fds`.
pub fn spawn_request(plan: &LaunchPlan) -> SpawnRequest {
    SpawnRequest {
        argv: plan.argv.clone(),
        env: ENVIRONMENT
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .chain(plan.environment.clone())
            .collect(),
        fds: plan.fds.iter().map(|fd| fd.number).collect(),
        affinity: plan.placement.emulator.clone(),
        memlock: plan.passthrough.memlock.map(|bytes| bytes.0),
        end_after_ms: Some(
            plan.lifecycle
                .grace_period_seconds
                .saturating_mul(1000)
                .saturating_add(BEYOND_GRACE),
        ),
    }
}

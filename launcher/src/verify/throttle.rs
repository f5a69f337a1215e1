//! Whether the pod's CPU time is limited: a dedicated CPU that the kernel takes away again is none.

use camino::Utf8PathBuf;
use numa::file::{self, USUAL_LIMIT};
use numa::{Cgroup, FactError, cgroup};
use serde::Serialize;

/// One limit, of the pod's own group or one above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttle {
    /// Where the limit is written.
    pub file: Utf8PathBuf,
    /// Microseconds of CPU time that the group may use ...
    pub quota_us: u64,
    /// ... in so many of them.
    pub period_us: u64,
    /// Periods in which it was held up.
    pub throttled: u64,
}

/// Every limit that is set, the nearest first.
pub fn throttles(cgroup: &Cgroup) -> Result<Vec<Throttle>, FactError> {
    let mut throttles = Vec::new();
    for group in cgroup.groups("cpu") {
        let at = |name: &str| group.directory.join(name);
        let (path, limit) = match group.version {
            cgroup::Version::V2 => {
                let path = at("cpu.max");
                let text = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
                (path, quota_v2(&text))
            }
            cgroup::Version::V1 => {
                let path = at("cpu.cfs_quota_us");
                let quota: Option<i64> = file::value(&path, "a number of microseconds")?;
                let period = file::value(&at("cpu.cfs_period_us"), "a number of microseconds")?;
                let quota = quota.and_then(|quota| u64::try_from(quota).ok());
                (path, quota.zip(period))
            }
        };
        if let Some((quota_us, period_us)) = limit {
            let stat = file::read(&at("cpu.stat"), USUAL_LIMIT)?.unwrap_or_default();
            throttles.push(Throttle {
                file: group.inside(&path),
                quota_us,
                period_us,
                throttled: throttled(&stat),
            });
        }
    }
    Ok(throttles)
}

/// `max 100000` or `200000 100000`.
fn quota_v2(text: &str) -> Option<(u64, u64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

fn throttled(stat: &str) -> u64 {
    let mut lines = stat.lines();
    let count = lines.find_map(|line| line.strip_prefix("nr_throttled "));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_told_from_one() {
        assert_eq!(quota_v2("max 100000\n"), None);
        assert_eq!(quota_v2("250000 100000\n"), Some((250_000, 100_000)));
        assert_eq!(throttled("nr_periods 9\nnr_throttled 4\n"), 4);
        assert_eq!(throttled(""), 0);
    }
}

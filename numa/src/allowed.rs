//! Which CPUs and nodes this process may use: its cgroup's cpuset and the scheduler's list, intersected.

use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, ControlFile};
use crate::cpuset::CpuSet;
use crate::file::{self, FactError, USUAL_LIMIT};
use crate::root::HostRoot;

/// What a process may use. Neither is empty where the root tells anything at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allowed {
    /// CPUs it may run on.
    pub cpus: CpuSet,
    /// Nodes it may allocate from.
    pub mems: CpuSet,
}

const CPUS: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.cpus.effective",
    v1: "cpuset.effective_cpus",
};
const CPUS_BEFORE_3_17: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.cpus",
    v1: "cpuset.cpus",
};
const MEMS: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.mems.effective",
    v1: "cpuset.effective_mems",
};
const MEMS_BEFORE_3_17: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.mems",
    v1: "cpuset.mems",
};

/// What the process that reads may use, by its `cgroup` and `proc/self/status`; where neither says anything, all
/// that is online.
pub fn allowed(root: &HostRoot, cgroup: &Cgroup) -> Result<Allowed, FactError> {
    let status = root.proc("self/status");
    let status_text = file::read(&status, USUAL_LIMIT)?.unwrap_or_default();
    let scheduler = |key: &str| -> Result<Option<CpuSet>, FactError> {
        let line = status_text.lines().find_map(|line| line.strip_prefix(key));
        line.map(|list| {
            list.parse()
                .map_err(|_| FactError::malformed(&status, list, LIST))
        })
        .transpose()
    };
    let cpus = both(
        cpuset(cgroup, &[CPUS, CPUS_BEFORE_3_17])?,
        scheduler("Cpus_allowed_list:")?,
    );
    let mems = both(
        cpuset(cgroup, &[MEMS, MEMS_BEFORE_3_17])?,
        scheduler("Mems_allowed_list:")?,
    );
    let online = |below| file::value(&root.sys(below), LIST);
    Ok(Allowed {
        cpus: match cpus {
            Some(cpus) => cpus,
            None => online("devices/system/cpu/online")?.unwrap_or_default(),
        },
        mems: match mems {
            Some(mems) => mems,
            None => online("devices/system/node/online")?.unwrap_or_default(),
        },
    })
}

pub(crate) const LIST: &str = "a list such as `0-3,8`";

/// By the first of `files` that says something in this group or above.
fn cpuset(cgroup: &Cgroup, files: &[ControlFile<'_>]) -> Result<Option<CpuSet>, FactError> {
    for wanted in files {
        if let Some((path, text)) = cgroup.nearest(wanted)? {
            return match text.parse() {
                Ok(set) => Ok(Some(set)),
                Err(_) => Err(FactError::malformed(&path, &text, LIST)),
            };
        }
    }
    Ok(None)
}

/// The scheduler's list may hold CPUs that the cpuset lost since, and the cpuset CPUs that `taskset` took away.
fn both(one: Option<CpuSet>, other: Option<CpuSet>) -> Option<CpuSet> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.intersection(&other)),
        (one, other) => one.or(other),
    }
}

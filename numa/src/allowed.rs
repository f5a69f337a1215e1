//! Which CPUs and nodes this process may use: its cgroup's cpuset and the scheduler's list, intersected.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, ControlFile};
use crate::cpuset::CpuSet;
use crate::file::{self, FactError, USUAL_LIMIT};
use crate::root::HostRoot;

/// What a process may use. Neither set is empty where the root tells anything at all and its sources agree on
/// anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allowed {
    /// CPUs it may run on: online ones only.
    pub cpus: CpuSet,
    /// Nodes it may allocate from: online ones only.
    pub mems: CpuSet,
    /// Where the cpuset and the scheduler say different things.
    pub disagreements: Vec<Disagreement>,
}

/// The cpuset and the scheduler say different things of what is online. Only what both allow is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// Of what.
    pub of: Resource,
    /// The control group's file, as the machine names it.
    pub file: Utf8PathBuf,
    /// What the file says.
    pub cpuset: CpuSet,
    /// What `Cpus_allowed_list` or `Mems_allowed_list` says.
    pub scheduler: CpuSet,
}

/// What a cpuset limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// CPUs.
    Cpus,
    /// Memory nodes.
    Mems,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpus => "CPUs",
            Self::Mems => "memory nodes",
        })
    }
}

impl Disagreement {
    /// What both allow.
    pub fn both(&self) -> CpuSet {
        self.cpuset.intersection(&self.scheduler)
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            file,
            cpuset,
            scheduler,
        } = self;
        write!(
            f,
            "`{file}` allows the {of} `{cpuset}`, the scheduler `{scheduler}`; `{}` are used",
            self.both()
        )
    }
}

/// A resource, the files that tell of it, and where what is online stands.
struct Source {
    of: Resource,
    /// The second is what kernels before 3.17 have.
    files: [ControlFile<'static>; 2],
    status: &'static str,
    online: &'static str,
}

const CPUS: Source = Source {
    of: Resource::Cpus,
    files: [
        ControlFile {
            controller: "cpuset",
            v2: "cpuset.cpus.effective",
            v1: "cpuset.effective_cpus",
        },
        ControlFile {
            controller: "cpuset",
            v2: "cpuset.cpus",
            v1: "cpuset.cpus",
        },
    ],
    status: "Cpus_allowed_list:",
    online: "devices/system/cpu/online",
};

const MEMS: Source = Source {
    of: Resource::Mems,
    files: [
        ControlFile {
            controller: "cpuset",
            v2: "cpuset.mems.effective",
            v1: "cpuset.effective_mems",
        },
        ControlFile {
            controller: "cpuset",
            v2: "cpuset.mems",
            v1: "cpuset.mems",
        },
    ],
    status: "Mems_allowed_list:",
    online: "devices/system/node/online",
};

/// What the process that reads may use, by its `cgroup` and `proc/self/status`; where neither says anything, all
/// that is online.
pub fn allowed(root: &HostRoot, cgroup: &Cgroup) -> Result<Allowed, FactError> {
    read(root, cgroup, "self")
}

/// As [`allowed`], of another process in `cgroup` ([`Cgroup::of`]).
pub fn allowed_of(root: &HostRoot, cgroup: &Cgroup, pid: i32) -> Result<Allowed, FactError> {
    read(root, cgroup, &pid.to_string())
}

fn read(root: &HostRoot, cgroup: &Cgroup, process: &str) -> Result<Allowed, FactError> {
    let path = root.proc(&format!("{process}/status"));
    let status = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
    let mut disagreements = Vec::new();
    let mut of = |source: &Source| -> Result<CpuSet, FactError> {
        let online: Option<CpuSet> = file::value(&root.sys(source.online), LIST)?;
        let scheduler = scheduler(&path, &status, source.status)?;
        let (set, disagreement) = agree(source.of, cpuset(cgroup, source)?, scheduler, online);
        disagreements.extend(disagreement);
        Ok(set)
    };
    Ok(Allowed {
        cpus: of(&CPUS)?,
        mems: of(&MEMS)?,
        disagreements,
    })
}

/// What both allow of what is online, and where they part.
fn agree(
    of: Resource,
    cpuset: Option<(Utf8PathBuf, CpuSet)>,
    scheduler: Option<CpuSet>,
    online: Option<CpuSet>,
) -> (CpuSet, Option<Disagreement>) {
    // The scheduler's list of a process that nobody has bound holds CPUs that are only possible.
    let here = |set: CpuSet| match &online {
        Some(online) => set.intersection(online),
        None => set,
    };
    match (cpuset, scheduler.map(here)) {
        (Some((file, cpuset)), Some(scheduler)) => {
            let cpuset = here(cpuset);
            let both = cpuset.intersection(&scheduler);
            let disagreement = (cpuset != scheduler).then_some(Disagreement {
                of,
                file,
                cpuset,
                scheduler,
            });
            (both, disagreement)
        }
        (Some((_, cpuset)), None) => (here(cpuset), None),
        (None, Some(scheduler)) => (scheduler, None),
        (None, None) => (online.unwrap_or_default(), None),
    }
}

fn scheduler(path: &Utf8Path, status: &str, key: &str) -> Result<Option<CpuSet>, FactError> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.map(|list| {
        list.parse()
            .map_err(|_| FactError::malformed(path, list, LIST))
    })
    .transpose()
}

pub(crate) const LIST: &str = "a list such as `0-3,8`";

fn cpuset(cgroup: &Cgroup, source: &Source) -> Result<Option<(Utf8PathBuf, CpuSet)>, FactError> {
    for wanted in &source.files {
        if let Some((path, text)) = cgroup.nearest(wanted)? {
            return match text.parse() {
                Ok(set) => Ok(Some((cgroup.inside(&path), set))),
                Err(_) => Err(FactError::malformed(&path, &text, LIST)),
            };
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        cpuset: Option<&str>,
        scheduler: Option<&str>,
        online: Option<&str>,
    ) -> (String, Option<String>) {
        let set = |text: &str| text.parse::<CpuSet>().unwrap();
        let cpuset = cpuset.map(|text| (Utf8PathBuf::from("/cg/cpuset.cpus"), set(text)));
        let (set, disagreement) =
            agree(Resource::Cpus, cpuset, scheduler.map(set), online.map(set));
        (set.to_string(), disagreement.map(|it| it.to_string()))
    }

    #[test]
    fn possible_cpus_are_no_disagreement() {
        let online = Some("0-7");
        assert_eq!(
            of(Some("0-7"), Some("0-239"), online),
            ("0-7".to_owned(), None)
        );
        // v1 may keep an offline CPU in `cpuset.cpus`.
        assert_eq!(
            of(Some("2-9"), Some("0-239"), online),
            (
                "2-7".to_owned(),
                Some(
                    "`/cg/cpuset.cpus` allows the CPUs `2-7`, the scheduler `0-7`; `2-7` are used"
                        .to_owned()
                )
            )
        );
        assert_eq!(of(Some("2-9"), Some("2-7"), online).1, None);
        assert_eq!(of(None, Some("0-239"), online), ("0-7".to_owned(), None));
        assert_eq!(of(Some("2-9"), None, online), ("2-7".to_owned(), None));
        assert_eq!(of(None, None, online), ("0-7".to_owned(), None));
    }

    #[test]
    fn what_both_allow_is_used_and_the_rest_is_told() {
        let (set, told) = of(Some("2-5"), Some("4-7"), Some("0-7"));
        assert_eq!(set, "4-5");
        assert_eq!(
            told.unwrap(),
            "`/cg/cpuset.cpus` allows the CPUs `2-5`, the scheduler `4-7`; `4-5` are used"
        );
        // A cpuset that is known and has nothing in common: nothing, not everything.
        assert_eq!(of(Some("0"), Some("1"), None).0, "");
    }
}

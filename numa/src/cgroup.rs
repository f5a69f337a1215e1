//! Where this process's control groups are, and what they allow: v2, v1, and both mounted at once.
//!
//! Files are looked for in the process's own group first and then upwards, as far as the mount shows: a
//! controller that is off in a group leaves its files out, and the group above decides.

use camino::{Utf8Path, Utf8PathBuf};
use procfs::process::MountInfo;
use procfs::{FromRead, ProcessCGroups};

use crate::file::{self, FactError, USUAL_LIMIT};
use crate::root::HostRoot;

/// A file of one controller, which the two versions name differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlFile<'a> {
    /// `cpuset`, `memory`, `hugetlb`.
    pub controller: &'a str,
    /// As v2 names it.
    pub v2: &'a str,
    /// As v1 names it.
    pub v1: &'a str,
}

/// The version of a hierarchy's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's own names")]
pub enum Version {
    V1,
    V2,
}

/// The groups that one process is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cgroup {
    root: HostRoot,
    hierarchies: Vec<Hierarchy>,
}

/// One group: the process's own, or one above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    root: &'a HostRoot,
    /// How its files are named.
    pub version: Version,
    /// Where its files are.
    pub directory: &'a Utf8Path,
}

impl Group<'_> {
    /// The file that the version names so.
    pub fn file(&self, v2: &str, v1: &str) -> Utf8PathBuf {
        self.directory.join(match self.version {
            Version::V1 => v1,
            Version::V2 => v2,
        })
    }

    /// As [`HostRoot::inside`]: the path that the machine itself has for a file of this group.
    pub fn inside(&self, file: &Utf8Path) -> Utf8PathBuf {
        self.root.inside(file)
    }
}

/// One mounted tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    /// v1: its controllers. v2: empty, as its files tell.
    controllers: Vec<String>,
    /// The process's own group, the one above it, and so on up to the mount.
    directories: Vec<Utf8PathBuf>,
}

impl Cgroup {
    /// The groups of the process that reads, by `proc/self/cgroup` and `proc/self/mountinfo`; empty where the
    /// root has neither.
    pub fn read(root: &HostRoot) -> Result<Self, FactError> {
        Self::read_of(root, "self")
    }

    /// The groups of another process that the reader's own mounts show; empty when there is no such process. One in
    /// a group that the reader's cgroup namespace does not hold seems to be in the topmost that is seen.
    pub fn of(root: &HostRoot, pid: i32) -> Result<Self, FactError> {
        Self::read_of(root, &pid.to_string())
    }

    fn read_of(root: &HostRoot, process: &str) -> Result<Self, FactError> {
        let path = root.proc(&format!("{process}/cgroup"));
        let Some(text) = file::read(&path, USUAL_LIMIT)? else {
            return Ok(Self::default());
        };
        let groups = ProcessCGroups::from_read(text.as_bytes())
            .map_err(|_| FactError::malformed(&path, &text, "a list of control groups"))?;
        let mounts = mounts(root)?;
        let mut hierarchies = Vec::new();
        for group in groups {
            let mount = mounts.iter().find(|mount| match mount.version {
                Version::V2 => group.hierarchy == 0,
                Version::V1 => group
                    .controllers
                    .iter()
                    .any(|name| mount.options.contains(name)),
            });
            if let Some(mount) = mount {
                hierarchies.push(Hierarchy {
                    version: mount.version,
                    controllers: group.controllers,
                    directories: directories(root, mount, &group.pathname),
                });
            }
        }
        // A controller is in one hierarchy only; v1 says in which, v2 is what remains.
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
        Ok(Self {
            root: root.clone(),
            hierarchies,
        })
    }

    /// The groups that may hold files of `controller`, nearest first.
    pub fn groups<'a>(&'a self, controller: &str) -> impl Iterator<Item = Group<'a>> {
        self.hierarchies
            .iter()
            .filter(move |hierarchy| {
                hierarchy.version == Version::V2
                    || hierarchy.controllers.iter().any(|name| name == controller)
            })
            .flat_map(|hierarchy| {
                hierarchy.directories.iter().map(|directory| Group {
                    root: &self.root,
                    version: hierarchy.version,
                    directory,
                })
            })
    }

    /// The files of that name, nearest group first.
    fn files<'a>(&'a self, wanted: &'a ControlFile<'_>) -> impl Iterator<Item = Utf8PathBuf> + 'a {
        self.groups(wanted.controller)
            .map(|group| group.file(wanted.v2, wanted.v1))
    }

    /// The path that the machine itself has for one of these files.
    pub fn inside(&self, file: &Utf8Path) -> Utf8PathBuf {
        self.root.inside(file)
    }

    /// What the nearest file that is there and not empty says, and its path.
    pub fn nearest(
        &self,
        wanted: &ControlFile<'_>,
    ) -> Result<Option<(Utf8PathBuf, String)>, FactError> {
        for path in self.files(wanted) {
            if let Some(text) =
                file::read(&path, USUAL_LIMIT)?.filter(|text| !text.trim().is_empty())
            {
                return Ok(Some((path, text)));
            }
        }
        Ok(None)
    }

    /// The lowest of the limits in bytes, own group and those above; none where nothing is limited.
    pub fn limit(&self, wanted: &ControlFile<'_>) -> Result<Option<u64>, FactError> {
        let mut lowest = None;
        for path in self.files(wanted) {
            let Some(text) = file::read(&path, USUAL_LIMIT)? else {
                continue;
            };
            if let Some(limit) = limit(&path, &text)? {
                lowest = Some(lowest.map_or(limit, |other: u64| other.min(limit)));
            }
        }
        Ok(lowest)
    }
}

/// The limit in bytes that a control file's `text` says, in either version's form; none: unlimited.
pub fn limit(path: &Utf8Path, text: &str) -> Result<Option<u64>, FactError> {
    match text.trim() {
        "max" | "-1" => Ok(None),
        number => match number.parse() {
            Ok(limit) => Ok(Some(limit).filter(|limit| *limit < NO_LIMIT)),
            Err(_) => Err(FactError::malformed(
                path,
                text,
                "`max` or a number of bytes",
            )),
        },
    }
}

/// v1 writes "no limit" as `PAGE_COUNTER_MAX` pages (`LONG_MAX / PAGE_SIZE`), rounded to a huge page for hugetlb:
/// just below 2^63. No machine has an eighth of that.
const NO_LIMIT: u64 = 1 << 60;

/// Where a hierarchy is mounted.
struct Mount {
    version: Version,
    /// The group that is seen at the mount point.
    shown: String,
    point: Utf8PathBuf,
    /// v1: controllers stand among them.
    options: Vec<String>,
}

fn mounts(root: &HostRoot) -> Result<Vec<Mount>, FactError> {
    let path = root.proc("self/mountinfo");
    let text = file::read(&path, 16 * USUAL_LIMIT)?.unwrap_or_default();
    let mut mounts = Vec::new();
    for line in text.lines() {
        let info = MountInfo::from_line(line)
            .map_err(|_| FactError::malformed(&path, line, "a line of mountinfo"))?;
        let version = match info.fs_type.as_str() {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => continue,
        };
        // Not ours to read when its name is no UTF-8: no kubelet or init makes such a mount.
        if let Ok(point) = Utf8PathBuf::from_path_buf(info.mount_point) {
            mounts.push(Mount {
                version,
                shown: info.root,
                point,
                options: info.super_options.into_keys().collect(),
            });
        }
    }
    Ok(mounts)
}

/// From the process's group up to the mount point. A container that sees only its own group mounted is told the
/// group's path on the host (no cgroup namespace), or `/` (own namespace), or `/../..` (another one's).
fn directories(root: &HostRoot, mount: &Mount, group: &str) -> Vec<Utf8PathBuf> {
    let top = root.at(&mount.point);
    let below = Utf8Path::new(group)
        .strip_prefix(&mount.shown)
        .ok()
        .filter(|path| !path.as_str().is_empty())
        .filter(|path| path.components().all(|part| part.as_str() != ".."))
        .map_or_else(|| top.clone(), |path| top.join(path));
    below
        .ancestors()
        .take_while(|directory| directory.starts_with(&top))
        .map(Utf8Path::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(shown: &str, group: &str) -> Vec<String> {
        let mount = Mount {
            version: Version::V2,
            shown: shown.to_owned(),
            point: "/sys/fs/cgroup".into(),
            options: Vec::new(),
        };
        directories(&HostRoot::new("/host"), &mount, group)
            .into_iter()
            .map(String::from)
            .collect()
    }

    #[test]
    fn own_group_first_then_upwards() {
        let top = "/host/sys/fs/cgroup";
        assert_eq!(
            at("/", "/a/b"),
            [format!("{top}/a/b"), format!("{top}/a"), top.to_owned()]
        );
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount_point() {
        let top = ["/host/sys/fs/cgroup"];
        assert_eq!(at("/", "/"), top);
        assert_eq!(at("/kubepods/pod1/c", "/kubepods/pod1/c"), top);
        assert_eq!(at("/kubepods/pod1/c", "/elsewhere"), top);
        assert_eq!(at("/", "/../../pod2"), top);
        assert_eq!(
            at("/kubepods/pod1", "/kubepods/pod1/c"),
            ["/host/sys/fs/cgroup/c", "/host/sys/fs/cgroup"]
        );
    }
}

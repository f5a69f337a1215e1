//! The pod's CPUs and memory nodes, which may change under a running guest: the kubelet writes a new `cpuset.cpus` or
//! `cpuset.mems`.
//!
//! A watch on those files tells; one on the effective lists stays silent.

use std::io;

use camino::Utf8PathBuf;
use numa::{Cgroup, ControlFile, CpuSet, FactError};

use super::logs;
use crate::readable::Readable;

const CPUS: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.cpus.effective",
    v1: "cpuset.effective_cpus",
};
const MEMS: ControlFile<'_> = ControlFile {
    controller: "cpuset",
    v2: "cpuset.mems.effective",
    v1: "cpuset.effective_mems",
};
const WRITTEN: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// What the pod may use, by its cpuset alone: the scheduler's list of this thread is the emulator's. Empty where there is
/// no cpuset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// CPUs.
    pub cpus: CpuSet,
    /// Memory nodes.
    pub mems: CpuSet,
}

/// The pod's cpuset.
#[derive(Debug)]
pub struct Cpuset {
    cgroup: Cgroup,
    watch: Option<Readable>,
}

impl Cpuset {
    /// Watches the group's own lists and those above it.
    pub fn watch(cgroup: Cgroup) -> io::Result<Self> {
        let files: Vec<Utf8PathBuf> = cgroup
            .groups("cpuset")
            .flat_map(|group| WRITTEN.map(|name| group.file(name, name)))
            .filter(|path| path.exists())
            .collect();
        let watch = match files.as_slice() {
            [] => None,
            files => Some(logs::watch(files)?),
        };
        Ok(Self { cgroup, watch })
    }

    /// Until somebody wrote to a list; for ever where there is none. Cancel-safe.
    pub async fn written(&self) -> io::Result<()> {
        match &self.watch {
            Some(watch) => logs::changed(watch).await,
            None => std::future::pending().await,
        }
    }

    /// The lists as they are now.
    pub fn lists(&self) -> Result<Lists, FactError> {
        Ok(Lists {
            cpus: self.list(&CPUS)?,
            mems: self.list(&MEMS)?,
        })
    }

    fn list(&self, file: &ControlFile<'_>) -> Result<CpuSet, FactError> {
        let Some((path, text)) = self.cgroup.nearest(file)? else {
            return Ok(CpuSet::new());
        };
        text.parse()
            .map_err(|_| FactError::malformed(&path, &text, "a list such as `0-3,8`"))
    }
}

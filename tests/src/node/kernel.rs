//! What the node's kernel says, and the little that a node's administrator tells it: pages, cgroups, threads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

const NODES: &str = "/sys/devices/system/node";

/// Reads a file of the kernel's, without the newline at its end; the error names the file.
pub fn read(path: impl AsRef<Utf8Path>) -> Result<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
    Ok(text.trim_end().to_owned())
}

/// Writes a file of the kernel's; the error names file and value.
pub fn write(path: impl AsRef<Utf8Path>, value: &str) -> Result<()> {
    let path = path.as_ref();
    fs::write(path, value).with_context(|| format!("cannot write `{value}` to `{path}`"))
}

/// The NUMA nodes' numbers.
pub fn cells() -> Result<Vec<u32>> {
    let mut cells = Vec::new();
    for entry in fs::read_dir(NODES)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(Ok(id)) = name.strip_prefix("node").map(str::parse) {
            cells.push(id);
        }
    }
    cells.sort_unstable();
    Ok(cells)
}

fn pages(cell: u32, size_kb: &str, which: &str) -> String {
    format!("{NODES}/node{cell}/hugepages/hugepages-{size_kb}kB/{which}")
}

/// Free pages of a size (`1048576` or `2048`) on a node.
pub fn free_pages(cell: u32, size_kb: &str) -> Result<u64> {
    Ok(read(pages(cell, size_kb, "free_hugepages"))?.parse()?)
}

/// Sets how many pages of a size a node has. Put it back: the next case wants it as it was.
pub fn set_pages(cell: u32, size_kb: &str, count: u64) -> Result<()> {
    write(pages(cell, size_kb, "nr_hugepages"), &count.to_string())
}

/// The parent of the running case's pods: `/sys/fs/cgroup/case`, or `pods` at a prompt.
pub fn cgroup_parent() -> Utf8PathBuf {
    let name = std::env::var("NODE_CGROUP").unwrap_or_else(|_| "pods".to_owned());
    Utf8Path::new("/sys/fs/cgroup").join(name)
}

/// Removes a cgroup with all below it; an error while processes are in one.
pub fn remove_cgroups(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroups(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

/// The processes in a cgroup and below.
pub fn processes(cgroup: &Utf8Path) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for pid in read(cgroup.join("cgroup.procs"))?.lines() {
        found.push(pid.parse()?);
    }
    for entry in cgroup.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(processes(entry.path())?);
        }
    }
    Ok(found)
}

/// A field of `/proc/PID/status`, such as `CapEff` or `Cpus_allowed_list`; also of a thread, `PID/task/TID`.
pub fn status(task: &str, field: &str) -> Result<String> {
    let path = format!("/proc/{task}/status");
    let text = read(&path)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value
        .with_context(|| format!("no `{field}` in `{path}`"))?
        .trim()
        .to_owned())
}

/// A process's threads: id, name, CPUs that it may run on (kernel list form).
pub fn threads(pid: i32) -> Result<Vec<(i32, String, String)>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let tid: i32 = entry?.file_name().to_string_lossy().parse()?;
        let task = format!("{pid}/task/{tid}");
        threads.push((
            tid,
            status(&task, "Name")?,
            status(&task, "Cpus_allowed_list")?,
        ));
    }
    threads.sort();
    Ok(threads)
}

/// What a process's file descriptors lead to.
pub fn open_files(pid: i32) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that was closed meanwhile.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        files.push(target.to_string_lossy().into_owned());
    }
    Ok(files)
}

/// A mapping of huge pages in `/proc/PID/numa_maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugeMapping {
    /// Its policy, such as `bind:1`.
    pub policy: String,
    /// Of its pages, in kB.
    pub page_kb: u64,
    /// Pages by node.
    pub pages: BTreeMap<u32, u64>,
}

/// A process's mappings of huge pages.
pub fn huge_mappings(pid: i32) -> Result<Vec<HugeMapping>> {
    let text = read(format!("/proc/{pid}/numa_maps"))?;
    Ok(text.lines().filter_map(huge_mapping).collect())
}

/// One line: `ADDRESS POLICY KEY=VALUE... huge ... N1=4 kernelpagesize_kB=1048576`.
fn huge_mapping(line: &str) -> Option<HugeMapping> {
    let words: Vec<&str> = line.split(' ').collect();
    if !words.contains(&"huge") {
        return None;
    }
    let pages = words.iter().filter_map(|word| {
        let (node, count) = word.strip_prefix('N')?.split_once('=')?;
        Some((node.parse().ok()?, count.parse().ok()?))
    });
    let size = words
        .iter()
        .find_map(|word| word.strip_prefix("kernelpagesize_kB="))?;
    Some(HugeMapping {
        policy: (*words.get(1)?).to_owned(),
        page_kb: size.parse().ok()?,
        pages: pages.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{HugeMapping, huge_mapping};

    #[test]
    fn huge_pages_are_counted_by_node() {
        let line = "7f0000000000 bind:1 file=/memfd:memory\\040(deleted) huge dirty=3 N0=1 N1=2 kernelpagesize_kB=1048576";
        let expected = HugeMapping {
            policy: "bind:1".to_owned(),
            page_kb: 1_048_576,
            pages: [(0, 1), (1, 2)].into(),
        };
        assert_eq!(huge_mapping(line), Some(expected));
        assert_eq!(
            huge_mapping("7f0000000000 default anon=3 N0=3 kernelpagesize_kB=4"),
            None
        );
    }
}

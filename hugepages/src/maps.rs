//! `/proc/PID/numa_maps`: where a process's huge pages lie (`show_numa_map` in `fs/proc/task_mmu.c`).

use std::collections::BTreeMap;

use camino::Utf8Path;
use numa::{CpuSet, FactError, HostRoot, NodeId, file};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::page_size::PageSize;

/// One mapping of hugetlb pages. Transparent huge pages are not among them: they come and go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// Its length; none where `maps` does not tell.
    pub length: Option<Bytes>,
    /// Where in the file it begins, in bytes; none where `maps` does not tell.
    pub offset: Option<u64>,
    /// The file's inode, which tells files of one name apart (all of QEMU's memfds have the same); none where `maps`
    /// does not tell.
    pub inode: Option<u64>,
    /// The file, such as `/memfd:memory-backend-memfd (deleted)`.
    pub file: String,
    /// The policy in the kernel's words: `bind:1`, `default`, `prefer (many):0-1`.
    pub policy: String,
    /// Bytes a page; none where no page is present: then the kernel does not say.
    pub size: Option<PageSize>,
    /// Pages present, by node.
    pub pages: BTreeMap<NodeId, u64>,
}

impl Mapping {
    /// The nodes that the policy binds it to; none where it does not bind.
    pub fn bound_to(&self) -> Option<CpuSet> {
        bound_to(&self.policy)
    }

    /// Pages present in all.
    pub fn present(&self) -> u64 {
        self.pages.values().fold(0, |a, b| a.saturating_add(*b))
    }
}

/// A line for each mapping; a process may have 65530 of them (`vm.max_map_count`).
pub(crate) const LONGEST: usize = 64 << 20;

/// The hugetlb mappings of the process `pid`, in the order of their addresses; none when there is no such process.
pub fn huge_mappings(root: &HostRoot, pid: i32) -> Result<Vec<Mapping>, FactError> {
    let path = root.proc(&format!("{pid}/numa_maps"));
    let text = file::read(&path, LONGEST)?.unwrap_or_default();
    let mut mappings = parse(&path, &text)?;
    if !mappings.is_empty() {
        let maps = root.proc(&format!("{pid}/maps"));
        let text = file::read(&maps, LONGEST)?.unwrap_or_default();
        identify(&mut mappings, &text);
    }
    Ok(mappings)
}

/// The hugetlb mappings in the text of a `numa_maps` file, `path`.
pub fn parse(path: &Utf8Path, text: &str) -> Result<Vec<Mapping>, FactError> {
    text.lines()
        // No file's name has a space here (`seq_file_path` writes `\040`).
        .filter(|line| line.split_whitespace().skip(2).any(|word| word == "huge"))
        .map(|line| {
            mapping(line).ok_or_else(|| {
                FactError::malformed(path, line, "a line of numa_maps of huge pages")
            })
        })
        .collect()
}

/// `7f...000 bind:1 file=/memfd:ram\040(deleted) huge dirty=4 N1=4 kernelpagesize_kB=1048576`.
fn mapping(line: &str) -> Option<Mapping> {
    let line = Line::read(line)?;
    let size = match line.page {
        Some(page) => Some(format!("{page}kB").parse().ok()?),
        None => None,
    };
    Some(Mapping {
        start: line.start,
        length: None,
        offset: None,
        inode: None,
        file: line.file,
        policy: line.policy.to_owned(),
        size,
        pages: line.pages,
    })
}

/// One line of `numa_maps`.
pub(crate) struct Line<'a> {
    pub(crate) start: u64,
    pub(crate) policy: &'a str,
    file: String,
    /// KiB a page; none where none is there.
    pub(crate) page: Option<u64>,
    pub(crate) pages: BTreeMap<NodeId, u64>,
}

/// Policies with a space in their names (`mpol_to_str`).
const OF_TWO_WORDS: [&str; 2] = ["prefer (many)", "weighted interleave"];

impl<'a> Line<'a> {
    pub(crate) fn read(line: &'a str) -> Option<Self> {
        let (start, rest) = line.split_once(' ')?;
        let name = OF_TWO_WORDS.iter().find(|name| rest.starts_with(*name));
        let from = name.map_or(0, |name| name.len());
        // Nothing follows where no page of an anonymous mapping is there.
        let end = rest[from..].find(' ').map_or(rest.len(), |at| from + at);
        let (policy, rest) = rest.split_at(end);
        let mut read = Self {
            start: u64::from_str_radix(start, 16).ok()?,
            policy,
            file: String::new(),
            page: None,
            pages: BTreeMap::new(),
        };
        for word in rest.split_whitespace() {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            if key == "file" {
                read.file = unescape(value);
            } else if key == "kernelpagesize_kB" {
                read.page = Some(value.parse().ok()?);
            } else if let Some(node) = key.strip_prefix('N')
                && let Ok(node) = node.parse()
            {
                read.pages.insert(NodeId(node), value.parse().ok()?);
            }
        }
        (read.page.is_some() || read.pages.is_empty()).then_some(read)
    }
}

/// The nodes of a policy that binds.
pub(crate) fn bound_to(policy: &str) -> Option<CpuSet> {
    let (mode, nodes) = policy.split_once(':')?;
    // Flags may follow the mode: `bind=static:1`.
    let mode = mode.split('=').next()?;
    (mode == "bind").then(|| nodes.parse().ok()).flatten()
}

/// The kernel writes white space and backslashes in names as three octal digits (`mangle_path`).
fn unescape(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Adds what the text of `/proc/PID/maps` tells.
pub fn identify(mappings: &mut [Mapping], maps: &str) {
    let by_start = spans(maps);
    for mapping in mappings {
        if let Some(span) = by_start.get(&mapping.start) {
            mapping.length = span.end.checked_sub(mapping.start).map(Bytes);
            mapping.offset = Some(span.offset);
            mapping.inode = Some(span.inode);
        }
    }
}

pub(crate) struct Span {
    pub(crate) end: u64,
    offset: u64,
    inode: u64,
}

/// Mappings by their first address, of `start-end perms offset dev inode path`.
pub(crate) fn spans(maps: &str) -> BTreeMap<u64, Span> {
    let line = |line: &str| {
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let offset = hex(words.nth(1)?)?;
        let inode: u64 = words.nth(1)?.parse().ok()?;
        let end = hex(end)?;
        Some((hex(start)?, Span { end, offset, inode }))
    };
    maps.lines().filter_map(line).collect()
}

/// What one file (a memory backend) has, all its mappings together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The file's name.
    pub file: String,
    /// The file's inode, where it is known.
    pub inode: Option<u64>,
    /// Bytes a page; none where no page is present.
    pub size: Option<PageSize>,
    /// Bytes mapped, where known. What is mapped twice counts once.
    pub length: Option<Bytes>,
    /// Nodes that a policy binds its pages to.
    pub bound_to: Option<CpuSet>,
    /// Pages present, by node.
    pub pages: BTreeMap<NodeId, u64>,
}

/// Mappings of one file taken together, in the order of their first. Of parts of the file that are mapped twice the
/// mapping with more pages counts. Mappings of which the inode is not known stay apart.
pub fn backends(mappings: &[Mapping]) -> Vec<Backend> {
    let mut files: Vec<Vec<&Mapping>> = Vec::new();
    for mapping in mappings {
        let same = |others: &&mut Vec<&Mapping>| {
            mapping.inode.is_some()
                && others
                    .iter()
                    .any(|other| (other.inode, &other.file) == (mapping.inode, &mapping.file))
        };
        match files.iter_mut().find(same) {
            Some(file) => file.push(mapping),
            None => files.push(vec![mapping]),
        }
    }
    files.into_iter().filter_map(backend).collect()
}

fn backend(mut mappings: Vec<&Mapping>) -> Option<Backend> {
    let first = *mappings.first()?;
    mappings.sort_by_key(|mapping| mapping.offset);
    let mut backend = Backend {
        file: first.file.clone(),
        inode: first.inode,
        size: mappings.iter().find_map(|mapping| mapping.size),
        length: first.length.map(|_| Bytes(0)),
        bound_to: mappings.iter().find_map(|mapping| mapping.bound_to()),
        pages: BTreeMap::new(),
    };
    // Mappings that overlap, one run after another.
    let mut run = BTreeMap::new();
    let mut end = 0;
    for mapping in mappings {
        let from = mapping.offset.unwrap_or(0);
        let to = from.saturating_add(mapping.length.map_or(0, |length| length.0));
        if from >= end {
            add(&mut backend.pages, std::mem::take(&mut run));
        }
        if let Some(length) = &mut backend.length {
            length.0 += to.saturating_sub(from.max(end));
        }
        end = end.max(to);
        for (node, pages) in &mapping.pages {
            let most: &mut u64 = run.entry(*node).or_default();
            *most = (*most).max(*pages);
        }
    }
    add(&mut backend.pages, run);
    Some(backend)
}

fn add(sum: &mut BTreeMap<NodeId, u64>, pages: BTreeMap<NodeId, u64>) {
    for (node, pages) in pages {
        let total = sum.entry(node).or_default();
        *total = total.saturating_add(pages);
    }
}

#[cfg(test)]
mod tests;

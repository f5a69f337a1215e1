//! Where a process's ordinary memory lies: anonymous mappings in `/proc/PID/numa_maps`, by policy and node.

use std::collections::BTreeMap;

use camino::Utf8Path;
use numa::{CpuSet, FactError, HostRoot, NodeId, file};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::maps::{LONGEST, Line, bound_to, spans};

/// One anonymous mapping without huge pages but transparent ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordinary {
    /// Its length.
    pub length: Bytes,
    /// The nodes that its policy binds it to; none where it does not bind.
    pub bound_to: Option<CpuSet>,
    /// What of it is there, by node.
    pub present: BTreeMap<NodeId, Bytes>,
}

/// The anonymous mappings of the process `pid` in the order of their addresses, but heap and stack; none when there is no
/// such process. The kernel walks its page tables for it: all that is there is counted, a page after the other.
pub fn ordinary_mappings(root: &HostRoot, pid: i32) -> Result<Vec<Ordinary>, FactError> {
    let read = |name: &str| {
        let path = root.proc(&format!("{pid}/{name}"));
        file::read(&path, LONGEST).map(|text| (path, text.unwrap_or_default()))
    };
    let (path, text) = read("numa_maps")?;
    parse(&path, &text, &read("maps")?.1)
}

fn parse(path: &Utf8Path, text: &str, maps: &str) -> Result<Vec<Ordinary>, FactError> {
    let spans = spans(maps);
    let named = |word: &str| matches!(word, "huge" | "heap" | "stack") || word.starts_with("file=");
    let mut found = Vec::new();
    for text in text.lines() {
        if text.split_whitespace().skip(2).any(named) {
            continue;
        }
        let line = Line::read(text)
            .ok_or_else(|| FactError::malformed(path, text, "a line of numa_maps"))?;
        // One that came between the two files being read is nothing that was there to look at.
        let Some(span) = spans.get(&line.start) else {
            continue;
        };
        let page = line.page.unwrap_or(0).saturating_mul(1024);
        let present = line.pages.into_iter();
        found.push(Ordinary {
            length: Bytes(span.end.saturating_sub(line.start)),
            bound_to: bound_to(line.policy),
            present: present
                .map(|(node, pages)| (node, Bytes(pages.saturating_mul(page))))
                .collect(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMA_MAPS: &str = "\
7f0000000000 bind:1
7f0010000000 bind:0-1 anon=512 dirty=512 N0=500 N1=12 kernelpagesize_kB=4
7f0020000000 prefer (many):0-1
7f0030000000 weighted interleave:0,2 anon=1 dirty=1 N2=1 kernelpagesize_kB=4
7f0040000000 default heap anon=3 dirty=3 N0=3 kernelpagesize_kB=4
7f0050000000 default stack anon=3 dirty=3 N0=3 kernelpagesize_kB=4
7f0060000000 bind:1 file=/x dirty=1 N1=1 kernelpagesize_kB=4
7f0070000000 default huge anon=4 dirty=4 N1=4 kernelpagesize_kB=2048
7f0080000000 default anon=4 N0=4 kernelpagesize_kB=4
";

    #[test]
    fn anonymous_memory_is_found_touched_or_not() {
        let maps: String = (0..8)
            .map(|at| format!("7f00{at}0000000-7f00{at}0400000 rw-p 00000000 00:00 0 \n"))
            .collect();
        let found = parse(Utf8Path::new("numa_maps"), NUMA_MAPS, &maps).unwrap();
        let short: Vec<String> = found
            .iter()
            .map(|it| {
                let bound = it.bound_to.as_ref().map(ToString::to_string);
                format!("{} {bound:?} {:?}", it.length, it.present)
            })
            .collect();
        assert_eq!(
            short,
            [
                r#"4Mi Some("1") {}"#,
                r#"4Mi Some("0-1") {NodeId(0): Bytes(2048000), NodeId(1): Bytes(49152)}"#,
                "4Mi None {}",
                "4Mi None {NodeId(2): Bytes(4096)}",
            ]
        );
    }

    #[test]
    fn a_line_that_makes_no_sense_is_shown() {
        let path = Utf8Path::new("/proc/1/numa_maps");
        for text in ["xyz default", "7f00 default anon=1 N0=1", "7f00"] {
            let error = parse(path, text, "").unwrap_err().to_string();
            assert!(error.contains("/proc/1/numa_maps"), "{error}");
        }
    }

    #[test]
    fn this_process_has_some() {
        let pid = std::process::id().cast_signed();
        let found = ordinary_mappings(&HostRoot::default(), pid).unwrap();
        assert!(found.iter().any(|it| !it.present.is_empty()));
        assert!(
            ordinary_mappings(&HostRoot::default(), 1 << 23)
                .unwrap()
                .is_empty()
        );
    }
}

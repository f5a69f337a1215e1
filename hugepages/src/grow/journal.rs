//! What one holder did to pools: a line before each change of a pool's size, a line after it.

use std::fs::File;
use std::io::{Read, Write};

use camino::Utf8PathBuf;
use numa::NodeId;
use serde::{Deserialize, Serialize};

use super::lock::Directory;
use super::{GrowError, Growth};
use crate::page_size::PageSize;

/// One line of the file, JSON. A last line that is cut short was never acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// The boot in which the pools were grown.
    Boot(String),
    /// A pool's size is about to be set.
    Begin {
        node: NodeId,
        size: PageSize,
        from: u64,
        to: u64,
    },
    /// What it was then.
    Finish { now: u64 },
}

/// One change of a pool's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    node: NodeId,
    size: PageSize,
    from: u64,
    to: u64,
    now: Option<u64>,
}

impl Change {
    /// Pages added; negative when taken. What others did at the same time is beyond `from..to`.
    fn effect(&self) -> i128 {
        let (from, to) = (i128::from(self.from), i128::from(self.to));
        let now = self.now.map_or(to, i128::from);
        now.clamp(from.min(to), from.max(to)) - from
    }
}

/// A journal that this process holds the lock of.
#[derive(Debug)]
pub(super) struct Journal {
    path: Utf8PathBuf,
    file: File,
    boot: String,
    changes: Vec<Change>,
}

/// Of a process that grew hundreds of pools; far more than one that was not damaged.
const LONGEST: u64 = 1 << 20;

impl Journal {
    pub(super) fn create(locked: &Directory, boot: &str) -> Result<Self, GrowError> {
        let (path, file) = locked.create()?;
        let mut journal = Self {
            path,
            file,
            boot: boot.to_owned(),
            changes: Vec::new(),
        };
        journal.append(&Line::Boot(boot.to_owned()))?;
        Ok(journal)
    }

    pub(super) fn read(path: Utf8PathBuf, file: File) -> Result<Self, GrowError> {
        let mut text = String::new();
        if let Err(source) = (&file).take(LONGEST).read_to_string(&mut text) {
            return Err(GrowError::Journal {
                action: "read",
                path,
                source,
            });
        }
        let (boot, changes) = parse(&text);
        Ok(Self {
            path,
            file,
            boot,
            changes,
        })
    }

    /// Whether the pools are still those that it tells of.
    pub(super) fn is_of(&self, boot: &str) -> bool {
        self.boot == boot
    }

    pub(super) fn begin(
        &mut self,
        node: NodeId,
        size: PageSize,
        from: u64,
        to: u64,
    ) -> Result<(), GrowError> {
        self.append(&Line::Begin {
            node,
            size,
            from,
            to,
        })?;
        self.changes.push(Change {
            node,
            size,
            from,
            to,
            now: None,
        });
        Ok(())
    }

    pub(super) fn finish(&mut self, now: u64) -> Result<(), GrowError> {
        // The size is known whether or not it can be written down.
        if let Some(change) = self.changes.last_mut() {
            change.now = Some(now);
        }
        self.append(&Line::Finish { now })
    }

    /// The pool whose change was begun, and of which nobody knows what became of it.
    pub(super) fn unfinished(&self) -> Option<(NodeId, PageSize)> {
        let last = self.changes.last().filter(|change| change.now.is_none())?;
        Some((last.node, last.size))
    }

    /// What is to be taken back, a pool an entry.
    pub(super) fn net(&self) -> Vec<Growth> {
        let mut sums: Vec<(NodeId, PageSize, i128)> = Vec::new();
        for change in &self.changes {
            let same =
                |sum: &&mut (NodeId, PageSize, i128)| (sum.0, sum.1) == (change.node, change.size);
            match sums.iter_mut().find(same) {
                Some(sum) => sum.2 += change.effect(),
                None => sums.push((change.node, change.size, change.effect())),
            }
        }
        let grown = sums.into_iter().filter_map(|(node, size, sum)| {
            let pages = u64::try_from(sum).ok().filter(|pages| *pages > 0)?;
            Some(Growth { node, size, pages })
        });
        grown.collect()
    }

    pub(super) fn remove(self) -> Result<(), GrowError> {
        std::fs::remove_file(&self.path).map_err(|source| GrowError::Journal {
            action: "remove",
            path: self.path,
            source,
        })
    }

    /// In one write: a process that is killed leaves whole lines. What a crash of the machine loses is no matter,
    /// the pools are lost with it.
    fn append(&mut self, line: &Line) -> Result<(), GrowError> {
        let text = serde_json::to_string(line).map_err(std::io::Error::other);
        text.and_then(|text| self.file.write_all(format!("{text}\n").as_bytes()))
            .map_err(|source| GrowError::Journal {
                action: "write",
                path: self.path.clone(),
                source,
            })
    }
}

fn parse(text: &str) -> (String, Vec<Change>) {
    let mut boot = String::new();
    let mut changes: Vec<Change> = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Boot(id)) => boot = id,
            Ok(Line::Begin {
                node,
                size,
                from,
                to,
            }) => changes.push(Change {
                node,
                size,
                from,
                to,
                now: None,
            }),
            Ok(Line::Finish { now }) => {
                if let Some(change) = changes.last_mut() {
                    change.now = Some(now);
                }
            }
            Err(_) => break,
        }
    }
    (boot, changes)
}

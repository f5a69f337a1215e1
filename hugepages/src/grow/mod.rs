//! Grows pools and shrinks them back by exactly what was grown, also after a failure, also when the process that
//! grew them was killed: a journal in a locked directory tells the next one.

mod journal;
mod lock;

use camino::{Utf8Path, Utf8PathBuf};
use numa::{FactError, HostRoot, NodeId};
use serde::{Deserialize, Serialize};

use crate::page_size::PageSize;
use crate::pool;

use journal::Journal;
use lock::Directory;

/// How many pages one pool is to have more than it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The pool's node.
    pub node: NodeId,
    /// Its pages' size.
    pub size: PageSize,
    /// Pages to add to its persistent ones. It takes its surplus pages in first, and makes new ones of the rest.
    pub pages: u64,
}

/// Pools that could not be grown or shrunk.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// The directory's lock or a journal in it.
    #[error("cannot {action} `{path}`")]
    Journal {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kernel has no such pool.
    #[error("node {} has no pool of pages of `{size}`", .node.0)]
    NoPool {
        /// The node.
        node: NodeId,
        /// The size.
        size: PageSize,
    },
    /// A count could not be read.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// The kernel does not let us.
    #[error("cannot set the pool's size in `{path}`")]
    Refused {
        /// The pool's `nr_hugepages`.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The node has too little memory in one piece.
    #[error("the pool of `{size}` on node {} was to grow by `{wanted}` pages and grew by `{grown}`", .node.0)]
    Short {
        /// The node.
        node: NodeId,
        /// The size.
        size: PageSize,
        /// Pages asked for.
        wanted: u64,
        /// Pages that the kernel added; taken back since.
        grown: u64,
    },
    /// Growing failed, and then some pools could not be shrunk back.
    #[error("{cause}; and then the pools did not shrink back")]
    NotUndone {
        /// Why growing failed.
        cause: Box<Self>,
        /// Why shrinking failed.
        #[source]
        undo: Box<Self>,
    },
}

/// Pools that were grown. They shrink back when it is dropped, or shrunk by [`Self::shrink`], which tells failures.
#[derive(Debug)]
#[must_use = "the pools shrink back when it is dropped"]
pub struct Grown {
    root: HostRoot,
    directory: Utf8PathBuf,
    journal: Option<Journal>,
}

/// Grows each pool of `wanted`, or none: one that cannot grow as far as asked undoes the others.
///
/// `directory` holds a lock and the journals; it is made when it is not there. All who grow pools of one machine use
/// the same one, and it lies on a file system that a reboot empties, or not: pools do not outlive a reboot, and
/// journals of an earlier one are thrown away. First of all the pools of holders that died are shrunk back. May take
/// seconds for many pages, and waits for others that grow.
pub fn grow(root: &HostRoot, directory: &Utf8Path, wanted: &[Growth]) -> Result<Grown, GrowError> {
    let locked = Directory::lock(directory)?;
    shrink_orphans(root, &locked)?;
    let mut journal = Journal::create(&locked, &boot_id(root)?)?;
    for growth in wanted {
        if let Err(cause) = grow_one(root, &mut journal, growth) {
            return Err(match undo(root, &mut journal) {
                Ok(()) => match journal.remove() {
                    Ok(()) => cause,
                    Err(undo) => not_undone(cause, undo),
                },
                Err(undo) => not_undone(cause, undo),
            });
        }
    }
    Ok(Grown {
        root: root.clone(),
        directory: directory.to_owned(),
        journal: Some(journal),
    })
}

/// Shrinks back what dead holders grew, and says what it was. [`grow`] does that too.
pub fn recover(root: &HostRoot, directory: &Utf8Path) -> Result<Vec<Growth>, GrowError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    shrink_orphans(root, &Directory::lock(directory)?)
}

impl Grown {
    /// What was grown and not shrunk yet.
    pub fn pools(&self) -> Vec<Growth> {
        self.journal.as_ref().map(Journal::net).unwrap_or_default()
    }

    /// Shrinks the pools back. Pages still in use leave the pool when their user gives them back.
    pub fn shrink(mut self) -> Result<(), GrowError> {
        self.shrink_now()
    }

    fn shrink_now(&mut self) -> Result<(), GrowError> {
        let Some(mut journal) = self.journal.take() else {
            return Ok(());
        };
        let locked = Directory::lock(&self.directory)?;
        // A dead holder's unfinished step is read off the pool's size: before ours changes it.
        let orphans = shrink_orphans(&self.root, &locked);
        undo(&self.root, &mut journal)?;
        journal.remove()?;
        orphans.map(|_| ())
    }
}

impl Drop for Grown {
    fn drop(&mut self) {
        // What fails here stays in the journal, for the next one that grows or recovers.
        let _ = self.shrink_now();
    }
}

fn not_undone(cause: GrowError, undo: GrowError) -> GrowError {
    GrowError::NotUndone {
        cause: Box::new(cause),
        undo: Box::new(undo),
    }
}

fn shrink_orphans(root: &HostRoot, locked: &Directory) -> Result<Vec<Growth>, GrowError> {
    let boot = boot_id(root)?;
    let mut shrunk = Vec::new();
    for mut journal in locked.orphans()? {
        if journal.is_of(&boot) {
            if let Some((node, size)) = journal.unfinished() {
                journal.finish(persistent(root, node, size)?)?;
            }
            let net = journal.net();
            undo(root, &mut journal)?;
            shrunk.extend(net);
        }
        journal.remove()?;
    }
    Ok(shrunk)
}

fn grow_one(root: &HostRoot, journal: &mut Journal, growth: &Growth) -> Result<(), GrowError> {
    let Growth { node, size, pages } = *growth;
    if !nr_hugepages(root, node, size).exists() {
        return Err(GrowError::NoPool { node, size });
    }
    let from = persistent(root, node, size)?;
    let now = set(root, journal, growth, from, from.saturating_add(pages))?;
    enough(growth, from, now)
}

fn enough(growth: &Growth, from: u64, now: u64) -> Result<(), GrowError> {
    let grown = now.saturating_sub(from);
    if grown >= growth.pages {
        return Ok(());
    }
    Err(GrowError::Short {
        node: growth.node,
        size: growth.size,
        wanted: growth.pages,
        grown,
    })
}

/// Every pool, also after one has failed; the first failure is told.
fn undo(root: &HostRoot, journal: &mut Journal) -> Result<(), GrowError> {
    let mut result = Ok(());
    for growth in journal.net() {
        // Its node went offline: the pool went with it.
        if !nr_hugepages(root, growth.node, growth.size).exists() {
            continue;
        }
        let one = persistent(root, growth.node, growth.size)
            .map_err(GrowError::from)
            .and_then(|from| {
                let to = from.saturating_sub(growth.pages);
                set(root, journal, &growth, from, to)
            });
        result = result.and(one.map(|_| ()));
    }
    result
}

/// Sets a pool's size, journal first, and reads back what it is then.
fn set(
    root: &HostRoot,
    journal: &mut Journal,
    growth: &Growth,
    from: u64,
    to: u64,
) -> Result<u64, GrowError> {
    let path = nr_hugepages(root, growth.node, growth.size);
    journal.begin(growth.node, growth.size, from, to)?;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, to.to_string().as_bytes()));
    let now = persistent(root, growth.node, growth.size)?;
    journal.finish(now)?;
    written.map_err(|source| GrowError::Refused { path, source })?;
    Ok(now)
}

fn nr_hugepages(root: &HostRoot, node: NodeId, size: PageSize) -> Utf8PathBuf {
    pool::directory(root, node)
        .join(size.sysfs_name())
        .join("nr_hugepages")
}

fn persistent(root: &HostRoot, node: NodeId, size: PageSize) -> Result<u64, FactError> {
    Ok(pool::pool(root, node, size)?.persistent())
}

/// Differs after every boot.
fn boot_id(root: &HostRoot) -> Result<String, FactError> {
    let path = root.proc("sys/kernel/random/boot_id");
    Ok(numa::file::head(&path, 64)?
        .unwrap_or_default()
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests;

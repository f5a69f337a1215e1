//! Files and links of a tree, as values.

use std::collections::BTreeMap;
use std::io;

use camino::Utf8Path;

/// A file or a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file's content.
    File(String),
    /// Where a link leads.
    Link(String),
}

/// Entries by their path below the tree's top.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree(pub BTreeMap<String, Entry>);

impl Tree {
    pub(super) fn file(&mut self, path: impl Into<String>, content: impl Into<String>) {
        self.0.insert(path.into(), Entry::File(content.into()));
    }

    /// A file of one line.
    pub(super) fn line(&mut self, path: impl Into<String>, content: impl std::fmt::Display) {
        self.file(path, format!("{content}\n"));
    }

    pub(super) fn link(&mut self, path: impl Into<String>, target: impl Into<String>) {
        self.0.insert(path.into(), Entry::Link(target.into()));
    }

    /// Makes the tree below `top`, which must not hold other files.
    pub fn write(&self, top: &Utf8Path) -> io::Result<()> {
        let mut made = None;
        for (path, entry) in &self.0 {
            let path = top.join(path);
            let folder = path.parent().unwrap_or(top).to_owned();
            if made.as_ref() != Some(&folder) {
                std::fs::create_dir_all(&folder)?;
                made = Some(folder);
            }
            match entry {
                Entry::File(content) => std::fs::write(path, content)?,
                Entry::Link(target) => std::os::unix::fs::symlink(target, path)?,
            }
        }
        Ok(())
    }

    /// What is below `top`.
    pub fn read(top: &Utf8Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir_utf8()? {
                let entry = entry?;
                let path = entry.path();
                let below = path.strip_prefix(top).map_err(io::Error::other)?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(path.to_owned());
                } else if kind.is_symlink() {
                    tree.link(below.as_str(), path.read_link_utf8()?.into_string());
                } else {
                    tree.file(below.as_str(), std::fs::read_to_string(path)?);
                }
            }
        }
        Ok(tree)
    }
}

//! [`HostRoot`]: the one maker of paths under `/sys`, `/proc`, `/dev` and `/etc`.

use camino::{Utf8Path, Utf8PathBuf};

/// A directory that stands for `/`: the machine itself, or a fixture with the same files in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoot {
    root: Utf8PathBuf,
}

impl Default for HostRoot {
    fn default() -> Self {
        Self::new("/")
    }
}

impl HostRoot {
    /// `root` stands for `/`.
    pub fn new(root: impl Into<Utf8PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether this is the machine itself.
    pub fn is_machine(&self) -> bool {
        self.root == "/"
    }

    /// The directory that stands for `/`.
    pub fn path(&self) -> &Utf8Path {
        &self.root
    }

    /// A path under `/sys`, as `sys("devices/system/node")`.
    pub fn sys(&self, below: &str) -> Utf8PathBuf {
        self.root.join("sys").join(below)
    }

    /// A path under `/proc`.
    pub fn proc(&self, below: &str) -> Utf8PathBuf {
        self.root.join("proc").join(below)
    }

    /// A path under `/dev`.
    pub fn dev(&self, below: &str) -> Utf8PathBuf {
        self.root.join("dev").join(below)
    }

    /// A path under `/etc`.
    pub fn etc(&self, below: &str) -> Utf8PathBuf {
        self.root.join("etc").join(below)
    }

    /// An absolute path of the machine, seen below this root.
    pub fn at(&self, absolute: &Utf8Path) -> Utf8PathBuf {
        self.root
            .join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The reverse of [`Self::at`]: the path that the machine itself has for one below this root.
    pub fn inside(&self, path: &Utf8Path) -> Utf8PathBuf {
        path.strip_prefix(&self.root)
            .map_or_else(|_| path.to_owned(), |below| Utf8Path::new("/").join(below))
    }
}

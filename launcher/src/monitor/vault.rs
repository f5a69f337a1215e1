//! Open files that outlive the supervisor that opened them: what a new one could not get back.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::channel::FILES_A_PACKET;

/// One packet brings a new supervisor all of them, and QEMU's pidfd.
const MOST: usize = FILES_A_PACKET - 1;

/// Kept files by name.
#[derive(Debug, Default)]
pub struct Vault {
    files: BTreeMap<String, OwnedFd>,
}

impl Vault {
    /// Keeps a file, in place of one of that name. `false` if there is no room for a new one.
    pub fn keep(&mut self, name: String, file: OwnedFd) -> bool {
        let room = self.files.len() < MOST || self.files.contains_key(&name);
        if room {
            self.files.insert(name, file);
        }
        room
    }

    /// All names with their files.
    pub fn all(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.files
            .iter()
            .map(|(name, file)| (name.as_str(), file.as_fd()))
    }

    /// All names, in the order of [`Vault::files`].
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.values().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn it_is_bounded_and_replaces() {
        let mut vault = Vault::default();
        for number in 0..MOST {
            assert!(vault.keep(number.to_string(), null()));
        }
        assert!(!vault.keep("one more".to_owned(), null()));
        assert!(vault.keep("0".to_owned(), null()));
        assert_eq!(vault.names().len(), vault.files().count());
    }
}

//! What a test needs of the machine. Each either is there or fails the test with a message that names it.

use camino::Utf8PathBuf;

/// The test runs as root.
///
/// # Panics
/// When it does not.
pub fn root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root: it makes namespaces and network links"
    );
}

/// Where a program is.
///
/// # Panics
/// When it is not in `PATH` or the directories of system programs.
pub fn tool(name: &str) -> Utf8PathBuf {
    find(name)
        .unwrap_or_else(|| panic!("this test needs `{name}`; `tests/setup/install` installs it"))
}

fn find(name: &str) -> Option<Utf8PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .filter(|directory| !directory.is_empty())
        .map(|directory| Utf8PathBuf::from(directory).join(name))
        .find(|candidate| candidate.is_file())
}

/// A device node or other file of the machine, such as `/dev/kvm`.
///
/// # Panics
/// When it is not there.
pub fn path(path: &str) -> Utf8PathBuf {
    let path = Utf8PathBuf::from(path);
    assert!(path.exists(), "this test needs `{path}`");
    path
}

#[cfg(test)]
mod tests {
    use super::tool;

    #[test]
    fn a_tool_is_found() {
        assert!(tool("sh").is_absolute());
    }

    #[test]
    #[should_panic(expected = "this test needs `no-such-tool`")]
    fn a_missing_tool_is_named() {
        tool("no-such-tool");
    }
}

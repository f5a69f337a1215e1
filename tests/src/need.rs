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

/// `make test` could keep this many pages of 1Gi for tests before the build (`tests/setup/with-pages`). Where it could not,
/// the machine has none to give: then the test is not run, which `make test` counts and tells at its end. Outside of
/// `make test` they are expected.
///
/// # Panics
/// When the list of tests that were not run cannot be written.
pub fn pages_of_1gi(pages: u64, test: &str) -> bool {
    let Ok(held) = std::env::var("TESTS_HELD_1GI") else {
        return true;
    };
    if held.parse().is_ok_and(|held: u64| held >= pages) {
        return true;
    }
    let mut list = std::fs::File::options()
        .create(true)
        .append(true)
        .open(crate::project().join("target/not-run"))
        .expect("the list of tests that were not run");
    std::io::Write::write_all(
        &mut list,
        format!("{test}: it needs {pages} pages of 1Gi, the machine gave {held}\n").as_bytes(),
    )
    .expect("the list of tests that were not run");
    false
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

//! The programs under test, as cargo built them beside the tests.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

/// `virt-launcher`, of the profile that this test was built with.
///
/// # Panics
/// When it was not built, or its sources have changed since: cargo does not build another member's binaries for a test.
pub fn virt_launcher() -> Utf8PathBuf {
    built("virt-launcher").unwrap_or_else(|error| {
        panic!("{error:#}; run `cargo build --workspace --bins`, or `make test`, which does")
    })
}

/// A program of the profile that this test was built with, as it is.
pub fn beside(name: &str) -> Result<Utf8PathBuf> {
    let test = Utf8PathBuf::try_from(std::env::current_exe()?)?;
    let mut directory = test.parent().context("a program lies in a directory")?;
    if directory.file_name() == Some("deps") {
        directory = directory.parent().context("`deps` lies in a directory")?;
    }
    Ok(directory.join(name))
}

fn built(name: &str) -> Result<Utf8PathBuf> {
    let binary = beside(name)?;
    let directory = binary.parent().context("a program lies in a directory")?;
    let made = changed(&binary).with_context(|| format!("`{binary}` is not there"))?;
    let listing = fs::read_to_string(directory.join(format!("{name}.d")))?;
    for source in sources(&listing) {
        if changed(&source)? > made {
            bail!("`{binary}` is older than `{source}`");
        }
    }
    Ok(binary)
}

fn changed(path: &Utf8Path) -> Result<SystemTime> {
    Ok(fs::metadata(path)?.modified()?)
}

/// What cargo's `.d` file says a program was built from: `PROGRAM: SOURCE SOURCE...`, blanks escaped.
fn sources(listing: &str) -> Vec<Utf8PathBuf> {
    let Some((_, sources)) = listing
        .lines()
        .next()
        .and_then(|line| line.split_once(": "))
    else {
        return Vec::new();
    };
    sources
        .replace("\\ ", "\0")
        .split(' ')
        .map(|source| source.replace('\0', " ").into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::sources;

    #[test]
    fn a_listing_is_read_with_blanks_in_names() {
        let listing = "/t/debug/x: /src/my\\ lib.rs /src/main.rs\n/other: /y\n";
        assert_eq!(sources(listing), ["/src/my lib.rs", "/src/main.rs"]);
        assert!(sources("").is_empty());
    }
}

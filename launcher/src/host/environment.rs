//! The pod's environment, from `/proc/self/environ`: what the kubelet and the device plugins set.

use std::collections::BTreeMap;

use numa::{FactError, HostRoot, file};

/// The kernel lets arguments and environment have 6 MiB at most (`_STK_LIM / 4 * 3`).
const LONGEST: usize = 6 << 20;

/// Variables by name; empty where there is no such file.
pub(super) fn read(root: &HostRoot) -> Result<BTreeMap<String, String>, FactError> {
    let text = file::read(&root.proc("self/environ"), LONGEST)?;
    Ok(parse(&text.unwrap_or_default()))
}

/// Of a name that comes twice the first counts, as for `getenv`.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in text.split('\0').filter_map(|entry| entry.split_once('=')) {
        if !name.is_empty() && !variables.contains_key(name) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_with_a_zero_byte() {
        let variables = parse("A=1\0B=x=y\nz\0A=2\0=3\0no equals sign\0C=\0");
        let expected = [("A", "1"), ("B", "x=y\nz"), ("C", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, expected.into());
    }
}

//! The trees under `tests/hosts` that are made from a few lines each are as they would be made now.

use std::collections::BTreeSet;

use tests::hosts::{self, Tree};

#[test]
fn kept_trees_are_as_made() {
    let top = tests::project().join("tests/hosts");
    let update = std::env::var_os("HOSTS_UPDATE").is_some();
    for host in hosts::kept() {
        let (path, made) = (top.join(host.name), host.tree());
        if update {
            if path.exists() {
                std::fs::remove_dir_all(&path).unwrap();
            }
            made.write(&path).unwrap();
        }
        let kept = Tree::read(&path).unwrap();
        let paths: BTreeSet<_> = made.0.keys().chain(kept.0.keys()).collect();
        let wrong: Vec<_> = paths
            .into_iter()
            .filter(|path| made.0.get(*path) != kept.0.get(*path))
            .collect();
        assert!(
            wrong.is_empty(),
            "{}: made with `HOSTS_UPDATE=1 cargo nextest run -p tests --test hosts` these would differ: {wrong:?}",
            host.name
        );
    }
}

#[test]
fn every_tree_is_named_in_the_list() {
    let top = tests::project().join("tests/hosts");
    let list = std::fs::read_to_string(top.join("README.md")).unwrap();
    for entry in top.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            assert!(list.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}

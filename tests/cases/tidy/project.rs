//! The project's files as values, so that each rule can be tried on files that break it.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Code;

/// Path below the project's top, and content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Project {
    files: BTreeMap<String, String>,
}

impl Project {
    /// Everything that is under version control's eye: no build output, no hidden directories but `.config`, `.ci`.
    pub(crate) fn read() -> Self {
        let mut project = Self::default();
        let top = tests::project();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir_utf8().expect("a readable folder") {
                let entry = entry.expect("a readable folder");
                let (path, name) = (entry.path(), entry.file_name());
                if entry.file_type().expect("a file").is_dir() {
                    let hidden = name.starts_with('.') && ![".config", ".ci"].contains(&name);
                    if !hidden && !name.starts_with("target") {
                        folders.push(path.to_owned());
                    }
                } else if let Ok(text) = std::fs::read_to_string(path) {
                    let below = path.strip_prefix(&top).expect("below the top");
                    project.files.insert(below.to_string(), text);
                }
            }
        }
        project
    }

    /// Made-up files.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether a file or folder is there.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }

    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        let ending = format!(".{extension}");
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(&ending))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The product's own code: `*/src` of every member but the tests, without files that only tests see.
    pub(crate) fn product(&self) -> Vec<(&str, Code)> {
        let sources: Vec<_> = self
            .with_extension("rs")
            .filter(|(path, _)| path.contains("/src/") && !path.starts_with("tests/"))
            .map(|(path, text)| (path, Code::read(text)))
            .collect();
        let mut only_tests = BTreeSet::new();
        for (path, code) in &sources {
            for module in &code.test_modules {
                only_tests.insert(format!("{}{module}", folder_of_modules(path)));
            }
        }
        let hidden = |path: &str| {
            only_tests.iter().any(|module| {
                path == format!("{module}.rs") || path.starts_with(&format!("{module}/"))
            })
        };
        sources
            .into_iter()
            .filter(|(path, _)| !hidden(path))
            .collect()
    }
}

/// Where a file's own modules lie: `a/b.rs` has `a/b/`, `a/mod.rs` and `a/lib.rs` have `a/`.
fn folder_of_modules(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => format!("{folder}/"),
        name => format!("{folder}/{}/", name.trim_end_matches(".rs")),
    }
}

#[test]
fn files_that_only_tests_see_are_not_the_product() {
    let project = Project::of(&[
        ("a/src/lib.rs", "#[cfg(test)]\nmod rig;\nmod b;"),
        ("a/src/rig.rs", "unsafe"),
        ("a/src/b.rs", "#[cfg(test)]\nmod tests;"),
        ("a/src/b/tests.rs", "unsafe"),
        ("tests/src/lib.rs", "unsafe"),
    ]);
    let seen: Vec<_> = project
        .product()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(seen, ["a/src/b.rs", "a/src/lib.rs"]);
}

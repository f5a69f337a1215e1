//! The rules, each a function from the project to what breaks it.

use std::collections::BTreeMap;

use crate::project::Project;
use crate::source::has_word;

/// What a list says of a file or folder, and why.
pub(crate) type Listed = [(&'static str, &'static str)];

/// A place is a room, be it one file or a folder (`a/b` is `a/b.rs` and all of `a/b/`), or one file by its full name.
pub(crate) fn below(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

/// A list that names what is no longer there misleads.
pub(crate) fn stale(
    project: &Project,
    list: impl IntoIterator<Item = &'static str>,
) -> Vec<String> {
    list.into_iter()
        .filter(|place| !project.paths().any(|path| below(path, place)))
        .map(|place| format!("a list names `{place}`, which is not there"))
        .collect()
}

/// Pure rooms take time, files and environment as values.
pub(crate) fn pure(project: &Project, rooms: &[&str], words: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, code) in project.product() {
        if !rooms.iter().any(|room| below(path, room)) {
            continue;
        }
        for word in words {
            for line in code.lines_with(word) {
                broken.push(format!("{path}:{line}: `{word}` in a pure room"));
            }
        }
    }
    broken
}

/// `unsafe` only in listed files, each of which says so at its top.
pub(crate) fn unsafe_code(project: &Project, allowed: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, code) in project.product() {
        let listed = allowed.contains(&path);
        let used = code.lines_with("unsafe").next();
        let packed: String = code.text.split_whitespace().collect();
        let expected = packed.contains("[expect(unsafe_code,reason=");
        match (used, listed) {
            (Some(line), false) => {
                broken.push(format!("{path}:{line}: `unsafe` in a file not listed"))
            }
            (Some(_), true) if !expected => {
                broken.push(format!("{path}: no `#[expect(unsafe_code, reason = ...)]`"));
            }
            (None, true) => broken.push(format!("{path}: listed for `unsafe`, has none")),
            _ => {}
        }
    }
    broken
}

/// Files one can read in a sitting.
pub(crate) fn length(project: &Project, soft: usize, hard: usize, longer: &Listed) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, text) in project.with_extension("rs") {
        let lines = text.lines().count();
        let listed = longer.iter().any(|(file, _)| *file == path);
        if lines > hard {
            broken.push(format!("{path}: {lines} lines, {hard} at most"));
        } else if lines > soft && !listed {
            broken.push(format!(
                "{path}: {lines} lines; past {soft} look for the seam, or list why not"
            ));
        } else if lines <= soft && listed {
            broken.push(format!("{path}: listed as long, has {lines} lines"));
        }
    }
    broken
}

/// Names that say nothing.
pub(crate) fn names(project: &Project, forbidden: &[&str]) -> Vec<String> {
    project
        .paths()
        .filter(|path| {
            path.split('/')
                .any(|part| forbidden.contains(&part.split('.').next().unwrap_or(part)))
        })
        .map(|path| format!("{path}: say what it is for"))
        .collect()
}

/// Each outside crate stays behind one room, and every dependency of the workspace has been thought about.
pub(crate) fn crates(
    project: &Project,
    rooms: &BTreeMap<&str, Vec<String>>,
    everybodys: &[&str],
) -> Vec<String> {
    let mut broken = Vec::new();
    for name in dependencies(project.get("Cargo.toml").unwrap_or_default()) {
        if !rooms.contains_key(name) && !everybodys.contains(&name) {
            broken.push(format!("Cargo.toml: no list says whose crate `{name}` is"));
        }
    }
    for (path, code) in project.product() {
        for (name, places) in rooms {
            if places.iter().any(|place| below(path, place)) {
                continue;
            }
            let used = format!("{}::", name.replace('-', "_"));
            let foreign = |line: &str| {
                line.match_indices(&used).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                        && !line[..at].ends_with("::")
                })
            };
            for (index, line) in code.text.lines().enumerate() {
                if foreign(line) {
                    broken.push(format!(
                        "{path}:{}: `{name}` is used elsewhere only",
                        index + 1
                    ));
                }
            }
        }
    }
    broken
}

fn dependencies(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#') && !line.contains("path = "))
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .collect()
}

/// Members depend on what is to the left of them only.
pub(crate) fn members(project: &Project, order: &[(&str, &[&str])]) -> Vec<String> {
    let ours: Vec<_> = order.iter().map(|(member, _)| *member).collect();
    let mut broken = Vec::new();
    for (member, may) in order {
        let path = format!("{member}/Cargo.toml");
        let Some(manifest) = project.get(&path) else {
            broken.push(format!("{path} is not there"));
            continue;
        };
        for line in manifest.lines() {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if ours.contains(&name) && !may.contains(&name) && line.contains("workspace") {
                broken.push(format!("{path}: `{member}` may not depend on `{name}`"));
            }
        }
    }
    broken
}

/// Paths under the kernel's trees and `/etc` are made by `HostRoot`. What a process finds of itself at `/proc/self/fd` and
/// `/proc/self/exe` is no fact of a host.
pub(crate) fn host_paths(project: &Project, allowed: &Listed) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, code) in project.product() {
        for (line, literal) in &code.literals {
            let host = ["/sys", "/proc", "/dev", "/etc"].iter().any(|tree| {
                literal
                    .strip_prefix(tree)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            let own = ["/proc/self/fd", "/proc/self/exe"]
                .iter()
                .any(|own| literal.starts_with(own));
            let listed = allowed.iter().any(|(place, _)| {
                place.split_once(' ') == Some((path, literal)) || below(path, place)
            });
            if host && !own && !listed {
                broken.push(format!(
                    "{path}:{line}: `{literal}` is `HostRoot`'s to make"
                ));
            }
        }
    }
    broken
}

/// A lint of the workspace that is turned off says why, in a comment above it.
pub(crate) fn lints(manifest: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut inside = false;
    let mut before = "";
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.starts_with("[workspace.lints");
        }
        if inside && has_word(line, "\"allow\"") && !before.starts_with('#') && !line.contains('#')
        {
            broken.push(format!(
                "Cargo.toml:{}: a lint is off without a reason",
                index + 1
            ));
        }
        before = line;
    }
    broken
}

/// Derives that a type must not have.
pub(crate) fn not_serialize(source: &str, name: &str) -> Vec<String> {
    let declared = format!("pub struct {name} ");
    let Some((before, _)) = source.split_once(&declared) else {
        return vec![format!("no `{declared}`")];
    };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    if attributes.contains("Serialize") || source.contains(&format!("Serialize for {name}")) {
        return vec![format!("`{name}` is Serialize")];
    }
    Vec::new()
}

/// Whoever reads logs by machine goes by the name of the event, which each line has.
pub(crate) fn events(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, code) in project.product() {
        for (at, _) in code.text.match_indices("tracing::") {
            let rest = &code.text[at..];
            let Some((_, arguments)) = rest.split_once("!(") else {
                continue;
            };
            let name = &rest["tracing::".len()..rest.len() - arguments.len() - "!(".len()];
            if !["trace", "debug", "info", "warn", "error"].contains(&name) {
                continue;
            }
            let mut depth = 1_u32;
            let end = arguments.find(|letter| {
                depth = match letter {
                    '(' => depth + 1,
                    ')' => depth - 1,
                    _ => depth,
                };
                depth == 0
            });
            let arguments = &arguments[..end.unwrap_or(arguments.len())];
            if !arguments.lines().any(|line| has_word(line, "event")) {
                let line = code.text[..at].lines().count().max(1);
                broken.push(format!("{path}:{line}: a log line without an `event`"));
            }
        }
    }
    broken
}

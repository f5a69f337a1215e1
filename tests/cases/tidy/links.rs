//! Links between the project's pages.

use crate::project::Project;

/// Every link to a file or heading of the project leads somewhere.
pub(crate) fn links(project: &Project) -> Vec<String> {
    let mut broken = Vec::new();
    for (page, text) in project.with_extension("md") {
        for (line, target) in targets(text) {
            if let Some(why) = dead(project, page, target) {
                broken.push(format!("{page}:{line}: {why}"));
            }
        }
    }
    broken
}

/// `](target)` outside fenced blocks, with line numbers.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((index + 1, target));
            }
        }
    }
    found
}

fn dead(project: &Project, page: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        page.to_owned()
    } else {
        resolve(page, file)
    };
    if !project.exists(&path) {
        return Some(format!("`{target}` leads to `{path}`, which is not there"));
    }
    if heading.is_empty() {
        return None;
    }
    let text = project.get(&path).unwrap_or_default();
    let there = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor(line.trim_start_matches('#').trim()) == heading);
    (!there).then(|| format!("`{path}` has no heading for `#{heading}`"))
}

fn resolve(page: &str, file: &str) -> String {
    let mut parts: Vec<_> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A heading's anchor, as forges make it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn dead_links_are_found() {
    let project = Project::of(&[
        (
            "README.md",
            "[a](docs/a.md) [b](docs/b.md)\n[h](docs/a.md#two-words) [i](#none)\n[w](https://example.org)\n",
        ),
        (
            "docs/a.md",
            "# Two `words`!\n[up](../README.md) [self](a.md)\n```\n[x](y)\n```\n",
        ),
    ]);
    assert_eq!(
        links(&project),
        [
            "README.md:1: `docs/b.md` leads to `docs/b.md`, which is not there",
            "README.md:2: `README.md` has no heading for `#none`",
        ]
    );
}

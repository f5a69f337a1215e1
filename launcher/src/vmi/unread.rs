//! Fields that the mirror did not read: whose business they are, or where they belong.

use super::fields::{self, Class};
use super::findings::Findings;
use super::path::Path;
use super::tree::Node;

/// Names that say nothing of where they belong.
const EVERYWHERE: [&str; 9] = [
    "name", "type", "path", "enabled", "present", "value", "image", "version", "status",
];

/// A name with more homes than this belongs anywhere.
const MOST_HOMES: usize = 3;

/// Each is compared with the whole table: a file with more is something else, or hostile.
const MOST_UNKNOWN: usize = 500;

pub(super) fn judge(unread: &[Path], tree: &Node, findings: &mut Findings) {
    let mut strangers = 0;
    for path in unread {
        let Some(name) = path.last_key() else {
            continue;
        };
        match fields::class(&path.parent().pattern(), name) {
            Some(Class::Refused(field)) => {
                if tree.get(path).is_some_and(|value| field.is_asked(value)) {
                    findings.refuse(path, field.what, field.hint);
                }
            }
            Some(Class::Headroom(notice)) => findings.notice(path, notice),
            Some(_) => {}
            None if strangers < MOST_UNKNOWN => {
                strangers += 1;
                unknown(path, name, findings);
            }
            None => {
                let at = Path::root();
                findings.refuse(
                    &at,
                    "it has hundreds of fields that nobody knows",
                    "is this the right file?",
                );
                return;
            }
        }
    }
}

fn unknown(path: &Path, name: &str, findings: &mut Findings) {
    let parent = path.parent().pattern();
    let homes = homes(&parent, name);
    let meant = fields::names_in(&parent)
        .filter(|known| is_close(name, known))
        .min_by_key(|known| distance(name, known));
    if !homes.is_empty() {
        let homes = homes.join(" or ");
        let hint = match meant {
            Some(known) => format!("did you mean `{known}`? else it belongs at {homes}"),
            None if parent.ends_with("[]") && !homes.contains(&parent) => {
                format!("there is a field of that name at {homes}")
            }
            None => format!("it belongs at {homes}"),
        };
        findings.refuse(path, format!("`{name}` does not belong here"), hint);
        return;
    }
    let message = match meant {
        Some(known) => {
            format!("nobody knows this field, so it is ignored: did you mean `{known}`?")
        }
        None => "nobody knows this field, so it is ignored".to_owned(),
    };
    findings.notice(path, message);
}

/// The nearest objects that have this field: those that share most of the way, then the outermost.
fn homes(parent: &str, name: &str) -> Vec<String> {
    if EVERYWHERE.contains(&name) {
        return Vec::new();
    }
    let homes = fields::homes_of(name);
    let nearness = |home: &&'static str| (shared_steps(parent, home), usize::MAX - steps(home));
    let Some(best) = homes.iter().map(nearness).max() else {
        return Vec::new();
    };
    let nearest: Vec<_> = homes
        .iter()
        .filter(|home| nearness(home) == best)
        .map(|home| match *home {
            "" => format!("`{name}`"),
            home => format!("`{home}.{name}`"),
        })
        .collect();
    if nearest.len() > MOST_HOMES {
        Vec::new()
    } else {
        nearest
    }
}

fn steps(pattern: &str) -> usize {
    pattern.split('.').filter(|step| !step.is_empty()).count()
}

fn shared_steps(one: &str, other: &str) -> usize {
    one.split('.')
        .zip(other.split('.'))
        .take_while(|(one, other)| one == other && !one.is_empty())
        .count()
}

/// One slip in four letters, or only capitals wrong.
fn is_close(written: &str, known: &str) -> bool {
    written.eq_ignore_ascii_case(known) || distance(written, known) <= known.len() / 4
}

/// Levenshtein's: insertions, deletions and changes from one to the other. Long names are far from everything.
fn distance(one: &str, other: &str) -> usize {
    const LONGEST: usize = 64;
    if one.len() > LONGEST {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, against) in row.iter_mut().skip(1).zip(other.bytes()) {
            let change = diagonal + usize::from(letter != against);
            diagonal = *cell;
            *cell = change.min(diagonal + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misplaced_fields_have_a_home() {
        for (parent, name, home) in [
            (
                "spec.domain",
                "interfaces",
                vec!["`spec.domain.devices.interfaces`"],
            ),
            ("spec.domain", "networks", vec!["`spec.networks`"]),
            ("spec", "disks", vec!["`spec.domain.devices.disks`"]),
            ("spec", "memory", vec!["`spec.domain.memory`"]),
            ("spec.domain", "cores", vec!["`spec.domain.cpu.cores`"]),
            (
                "spec.networks[]",
                "networkName",
                vec!["`spec.networks[].multus.networkName`"],
            ),
            (
                "spec.domain.devices.disks[]",
                "bus",
                vec![
                    "`spec.domain.devices.disks[].cdrom.bus`",
                    "`spec.domain.devices.disks[].disk.bus`",
                ],
            ),
            ("spec", "metadata", vec!["`metadata`"]),
            ("spec", "name", vec![]),
            ("spec", "running", vec![]),
        ] {
            assert_eq!(homes(parent, name), home, "{parent}.{name}");
        }
    }

    #[test]
    fn distance_counts_slips() {
        for (one, other, slips) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(one, other), slips);
            assert_eq!(distance(other, one), slips);
        }
    }
}

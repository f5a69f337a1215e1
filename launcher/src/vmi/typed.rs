//! From a tree to the mirror: every value of a wrong type is found, not only the first.

use super::findings::Findings;
use super::mirror::Vmi;
use super::path::{Path, Segment};
use super::tree::Node;
use super::tree_de::Mismatch;
use crate::quantity::Quantity;

/// Each costs a reading of the whole document.
const MOST_MISTYPED: usize = 100;

/// The mirror, and where it read nothing. Values of wrong types are voided in `tree`.
pub(super) fn read(tree: &mut Node, findings: &mut Findings) -> (Vmi, Vec<Path>) {
    for _ in 0..MOST_MISTYPED {
        match attempt(tree) {
            Ok(done) => return done,
            Err((path, mismatch)) => {
                let value = tree.get(&path).cloned().unwrap_or(Node::Null);
                findings.mistyped(&path, mismatch.to_string(), hint(&mismatch, &value));
                match tree.get_mut(&path) {
                    Some(place) => *place = Node::Void,
                    None => break,
                }
            }
        }
    }
    let at = Path::root();
    findings.mistyped(
        &at,
        "too many values have the wrong type",
        "correct these first",
    );
    (Vmi::default(), Vec::new())
}

fn attempt(tree: &Node) -> Result<(Vmi, Vec<Path>), (Path, Mismatch)> {
    let mut unread = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(tree, &mut track);
    match serde_ignored::deserialize(deserializer, |path| unread.push(unread_path(&path))) {
        Ok(vmi) => Ok((vmi, unread)),
        Err(mismatch) => Err((mistyped_path(&track.path()), mismatch)),
    }
}

fn unread_path(path: &serde_ignored::Path<'_>) -> Path {
    match path {
        serde_ignored::Path::Root => Path::root(),
        serde_ignored::Path::Seq { parent, index } => unread_path(parent).index(*index),
        serde_ignored::Path::Map { parent, key } => unread_path(parent).key(key.clone()),
        serde_ignored::Path::Some { parent }
        | serde_ignored::Path::NewtypeStruct { parent }
        | serde_ignored::Path::NewtypeVariant { parent } => unread_path(parent),
    }
}

fn mistyped_path(path: &serde_path_to_error::Path) -> Path {
    path.iter()
        .fold(Path::root(), |path, segment| match segment {
            serde_path_to_error::Segment::Seq { index } => path.with(Segment::Index(*index)),
            serde_path_to_error::Segment::Map { key } => path.key(key.clone()),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {
                path
            }
        })
}

/// How to write the value so that it has its field's type.
fn hint(mismatch: &Mismatch, value: &Node) -> String {
    let Mismatch::Type { expected, .. } = mismatch else {
        return quantity_hint(value);
    };
    let hint = match (expected.as_str(), value) {
        ("a string", Node::Bool(_) | Node::Number(_)) => "put it in quotes",
        ("`true` or `false`", _) => "write `true` or `false` without quotes",
        ("a list", Node::Map(_)) => {
            "begin each element with `- ` (YAML), or put `[` and `]` around it (JSON)"
        }
        ("an object", Node::List(_)) => {
            "there is only one here: remove the `- ` (YAML) or the `[` and `]` (JSON)"
        }
        ("an object", _) => "its fields go below it, one a line",
        ("a quantity", _) => "write a Kubernetes quantity such as `512Mi`",
        (wanted, Node::Text(text))
            if wanted.starts_with("a whole number") && text.parse::<i64>().is_ok() =>
        {
            "write it without quotes"
        }
        _ => "",
    };
    if hint.is_empty() {
        format!("give {expected}")
    } else {
        hint.to_owned()
    }
}

/// Only quantities have a parser of their own: ask it again.
fn quantity_hint(value: &Node) -> String {
    match value {
        Node::Text(text) => text.parse::<Quantity>().err().map(|error| error.hint()),
        Node::Number(number) => number
            .to_string()
            .parse::<Quantity>()
            .err()
            .map(|error| error.hint()),
        _ => None,
    }
    .unwrap_or_default()
}

//! From text to a tree: JSON when it begins with `{`, YAML otherwise.

use serde_saphyr::Options;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::path::Path;
use super::tree::Node;
use crate::refusal::{Refusal, Violation};

/// No VMI is larger: etcd holds 1.5 MiB.
const MOST_BYTES: usize = 4 << 20;

/// The one document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, Refusal> {
    if text.len() > MOST_BYTES {
        return Err(refuse(
            format!(
                "{} bytes are more than the {MOST_BYTES} that are read",
                text.len()
            ),
            "is this the right file?",
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree = if text.trim_start().starts_with('{') {
        parse_json(text)
    } else {
        parse_yaml(text)
    }?;
    match tree {
        Node::Map(_) => Ok(tree),
        _ => Err(refuse(
            "it is not an object",
            "it must begin with fields such as `apiVersion:` and `kind:`",
        )),
    }
}

fn parse_json(text: &str) -> Result<Node, Refusal> {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Node>();
    let first = match documents.next() {
        Some(document) => document.map_err(|error| {
            refuse(
                format!("it is not valid JSON: {error}"),
                "correct the text at that place: what begins with `{` is read as JSON",
            )
        })?,
        None => return Err(empty()),
    };
    match documents.next() {
        None => Ok(first),
        Some(Ok(_)) => Err(several()),
        Some(Err(error)) => Err(refuse(
            format!("something follows the JSON document: {error}"),
            "give one VirtualMachineInstance a file",
        )),
    }
}

fn parse_yaml(text: &str) -> Result<Node, Refusal> {
    let mut documents =
        serde_saphyr::from_multiple_with_options::<Node>(text, limits()).map_err(|error| {
            let message = error.without_snippet().to_string();
            let place = error
                .location()
                .filter(|_| !message.contains("line "))
                .map(|place| format!(" at line {} column {}", place.line(), place.column()))
                .unwrap_or_default();
            refuse(
                format!("it is not valid YAML: {message}{place}"),
                "correct the text at that place",
            )
        })?;
    match documents.len() {
        0 => Err(empty()),
        1 => Ok(documents.remove(0)),
        _ => Err(several()),
    }
}

/// Bounds against nesting, aliases that multiply, and floods of documents; far above what a VMI needs.
fn limits() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 16,
            max_nodes: 250_000,
            max_total_scalar_bytes: 2 * MOST_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        // Doubled keys are found by the tree, as in JSON.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        emit_comments: false,
        with_snippet: false,
    }
}

fn refuse(message: impl Into<String>, hint: &str) -> Refusal {
    Refusal::new(vec![Violation::new(
        Path::root().to_string(),
        message,
        hint,
    )])
}

fn empty() -> Refusal {
    refuse(
        "it is empty",
        "give a VirtualMachineInstance in JSON or YAML",
    )
}

fn several() -> Refusal {
    refuse(
        "it holds several documents",
        "give one VirtualMachineInstance a file: split it at the `---` lines",
    )
}

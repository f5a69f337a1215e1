//! What the product said, held to a snapshot in `snapshots/`.

use serde_json::Value;
use tests::node::pod::Running;

/// Events whose names begin so, a line each: `name: message`. Of a pod that logs JSON.
pub(crate) fn events(pod: &Running, prefix: &str) -> String {
    let event = |line: &String| {
        let event: Value = serde_json::from_str(line).ok()?;
        let name = event["event"].as_str()?;
        let message = event["message"].as_str()?;
        name.starts_with(prefix)
            .then(|| format!("{name}: {message}\n"))
    };
    pod.started.seen().iter().filter_map(event).collect()
}

/// Lines that name a field of the VMI.
pub(crate) fn of_fields(pod: &Running) -> String {
    lines(pod, &["spec."])
}

/// Lines with one of these in them.
pub(crate) fn lines(pod: &Running, parts: &[&str]) -> String {
    let lines = pod.started.seen().iter();
    lines
        .filter(|line| parts.iter().any(|part| line.contains(part)))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Holds `text` to the snapshot `name`, with what differs from boot to boot under names of its own.
pub(crate) fn snapshot(name: &str, text: &str, names: &[(&str, &str)]) {
    let mut text = text.to_owned();
    for (varies, name) in names {
        text = text.replace(varies, name);
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

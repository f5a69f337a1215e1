//! What the guest agent told, as numbers. Nobody asks it for a scrape: these are as old as its last answers.

use serde_json::Value;

use crate::status::metrics::Metric;
use crate::supervise::agent_poll::Answers;

/// A guest may tell of as many as it likes.
const MOST_FILE_SYSTEMS: usize = 64;
/// Longest word of the guest's in a label, in characters.
const LONGEST: usize = 128;

/// Load and file systems.
pub(super) fn guest(answers: &Answers) -> Vec<Metric> {
    let mut metrics = load(answers.get("guest-get-load").unwrap_or(&Value::Null));
    metrics.extend(file_systems(
        answers.get("guest-get-fsinfo").unwrap_or(&Value::Null),
    ));
    metrics
}

fn load(told: &Value) -> Vec<Metric> {
    let kinds = [
        ("guest_load_1m", "Load of the guest over 1 minute", "load1m"),
        (
            "guest_load_5m",
            "Load of the guest over 5 minutes",
            "load5m",
        ),
        (
            "guest_load_15m",
            "Load of the guest over 15 minutes",
            "load15m",
        ),
    ];
    kinds
        .map(|(name, help, key)| Metric::gauge(name, help).of_vm(told[key].as_f64()))
        .into()
}

fn file_systems(told: &Value) -> Vec<Metric> {
    let mut capacity = Metric::gauge(
        "filesystem_capacity_bytes",
        "What a file system of the guest's holds",
    );
    let mut used = Metric::gauge(
        "filesystem_used_bytes",
        "What a file system of the guest's has in use",
    );
    let all = told.as_array().into_iter().flatten();
    for one in all.take(MOST_FILE_SYSTEMS) {
        let word = |key: &str| {
            let text = one[key].as_str().unwrap_or_default();
            text.chars().take(LONGEST).collect::<String>()
        };
        let labels = || {
            vec![
                ("disk_name", word("name")),
                ("mount_point", word("mountpoint")),
                ("file_system_type", word("type")),
            ]
        };
        capacity = capacity.of(labels(), one["total-bytes"].as_f64());
        used = used.of(labels(), one["used-bytes"].as_f64());
    }
    vec![capacity, used]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::metrics::text;

    #[test]
    fn what_the_agent_told_has_kubevirts_names_and_bounds() {
        let root = json!({"name": "vda1", "mountpoint": "/", "type": "ext4", "total-bytes": 4096, "used-bytes": 1024});
        let mut all = vec![
            root,
            json!({"name": "vdb\n\"", "mountpoint": "x".repeat(999)}),
        ];
        let answers = Answers::from([
            ("guest-get-load", json!({"load1m": 0.5, "load5m": "much"})),
            ("guest-get-fsinfo", json!(all)),
        ]);
        let told = text("ns", "vm", guest(&answers)).unwrap();
        for line in [
            r#"kubevirt_vmi_guest_load_1m{namespace="ns",name="vm"} 0.5"#,
            r#"kubevirt_vmi_filesystem_capacity_bytes{namespace="ns",name="vm",disk_name="vda1",mount_point="/",file_system_type="ext4"} 4096.0"#,
            r#"kubevirt_vmi_filesystem_used_bytes{namespace="ns",name="vm",disk_name="vda1",mount_point="/",file_system_type="ext4"} 1024.0"#,
        ] {
            assert!(told.contains(line), "{line} in\n{told}");
        }
        assert!(!told.contains("load_5m") && !told.contains("vdb"), "{told}");
        all.push(json!({"name": "a", "mountpoint": "x".repeat(999), "total-bytes": 1}));
        all.extend((0..MOST_FILE_SYSTEMS).map(|_| json!({"name": "b", "total-bytes": 1})));
        let metrics = file_systems(&json!(all));
        assert_eq!(metrics[0].samples.len(), MOST_FILE_SYSTEMS - 1);
        assert_eq!(metrics[0].samples[1].0[1].1.len(), LONGEST);
        assert!(
            guest(&Answers::new())
                .iter()
                .all(|one| one.samples.is_empty())
        );
    }
}

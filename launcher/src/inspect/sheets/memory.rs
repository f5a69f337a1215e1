//! The guest's memory and what backs it.

use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell, size},
};

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let summary = answers.get("query-memory-size-summary");
    let mut backends = Sheet::new(
        "backends",
        &["ID", "SIZE", "NODES", "POLICY", "SHARE", "PREALLOC"],
    );
    for one in answers.list("query-memdev") {
        backends.row([
            cell(&one["id"]),
            size(&one["size"]),
            cell(&one["host-nodes"]),
            cell(&one["policy"]),
            cell(&one["share"]),
            cell(&one["prealloc"]),
        ]);
    }
    let mut devices = Sheet::new("devices", &["ID", "TYPE", "SIZE", "NODE", "BACKEND"]);
    for one in answers.list("query-memory-devices") {
        let data = &one["data"];
        let size_of = if data["size"].is_null() {
            &data["max-size"]
        } else {
            &data["size"]
        };
        devices.row([
            cell(&data["id"]),
            cell(&one["type"]),
            size(size_of),
            cell(&data["node"]),
            cell(&data["memdev"]),
        ]);
    }
    vec![
        Sheet::facts(
            "",
            [
                ("at start", size(&summary["base-memory"])),
                ("plugged", size(&summary["plugged-memory"])),
                (
                    "balloon leaves",
                    size(&answers.get("query-balloon")["actual"]),
                ),
            ],
        ),
        backends,
        devices,
    ]
}

//! Migration: how far it is, and what it was told.

use serde_json::Value;

use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell, size},
};

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let now = answers.get("query-migrate");
    let status = match now["status"].as_str() {
        Some(status) => status.to_owned(),
        None => "never migrated".to_owned(),
    };
    let milliseconds = |name: &str| match &now[name] {
        Value::Null => String::new(),
        value => format!("{} ms", cell(value)),
    };
    let ram = &now["ram"];
    let state = Sheet::facts(
        "",
        [
            ("state", status),
            ("error", cell(&now["error-desc"])),
            ("total time", milliseconds("total-time")),
            ("downtime", milliseconds("downtime")),
            ("expected downtime", milliseconds("expected-downtime")),
            ("memory", size(&ram["total"])),
            ("transferred", size(&ram["transferred"])),
            ("remaining", size(&ram["remaining"])),
            ("dirty syncs", cell(&ram["dirty-sync-count"])),
        ],
    );
    let on = answers
        .list("query-migrate-capabilities")
        .iter()
        .filter(|one| one["state"] == true);
    let mut capabilities = Sheet::new("capabilities that are on", &[]);
    for one in on {
        capabilities.row([cell(&one["capability"])]);
    }
    let mut parameters = Sheet::new("parameters", &[]);
    let all = answers.get("query-migrate-parameters").as_object();
    for (name, value) in all.into_iter().flatten() {
        parameters.row([name.clone(), cell(value)]);
    }
    vec![state, capabilities, parameters]
}

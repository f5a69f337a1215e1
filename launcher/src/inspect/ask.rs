//! The questions that a subject takes, and their answers.

use std::collections::BTreeMap;

use qmp::{ExecuteError, Session};
use serde_json::{Value, json};

use super::{DEADLINE, InspectError, Subject};

/// QEMU's answers, each under its question.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<String, Value>);

impl Answers {
    /// The answer to `question`; null if there was none.
    pub(super) fn get(&self, question: &str) -> &Value {
        self.0.get(question).unwrap_or(&Value::Null)
    }

    /// A list answer's elements.
    pub(super) fn list(&self, question: &str) -> &[Value] {
        self.get(question).as_array().map_or(&[], Vec::as_slice)
    }

    pub(super) fn into_json(self) -> Value {
        Value::Object(self.0.into_iter().collect())
    }

    #[cfg(test)]
    pub(super) fn from_json(all: Value) -> Self {
        Self(serde_json::from_value(all).expect("an object"))
    }
}

/// The commands without arguments that a subject takes.
fn questions(subject: &Subject) -> &'static [&'static str] {
    match subject {
        Subject::Status => &[
            "query-status",
            "query-name",
            "query-uuid",
            "query-version",
            "query-kvm",
        ],
        Subject::Cpus => &["query-cpus-fast", "query-hotpluggable-cpus"],
        Subject::Memory => &[
            "query-memory-size-summary",
            "query-balloon",
            "query-memdev",
            "query-memory-devices",
        ],
        Subject::Block => &["query-block", "query-blockstats"],
        Subject::Pci => &["query-pci"],
        Subject::Net => &["query-rx-filter"],
        Subject::Iothreads => &["query-iothreads"],
        Subject::Migration => &[
            "query-migrate",
            "query-migrate-parameters",
            "query-migrate-capabilities",
        ],
        Subject::Events | Subject::Exec { .. } | Subject::Schema { .. } => &[],
    }
}

/// Asks everything. A question that this machine has no answer to (no balloon, no hotplug, another
/// architecture) is left out; if none is answered, the first refusal is the result.
pub(super) async fn ask(session: &Session, subject: &Subject) -> Result<Answers, InspectError> {
    let mut answers = Answers::default();
    let mut refusal = None;
    for question in questions(subject) {
        match execute(session, question, Value::Null).await? {
            Ok(value) => {
                answers.0.insert((*question).to_owned(), value);
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match subject {
        Subject::Status => {
            let arguments = json!({"path": "/machine", "property": "type"});
            if let Ok(value) = execute(session, "qom-get", arguments).await? {
                answers.0.insert("qom-get /machine type".to_owned(), value);
            }
        }
        Subject::Net => {
            let nics = nics(session).await?;
            answers.0.insert("nics".to_owned(), nics);
        }
        _ => {}
    }
    match refusal {
        Some(error) if answers.0.is_empty() => Err(InspectError::Execute(error)),
        _ => Ok(answers),
    }
}

/// No QMP query lists the NICs, but every one that was given an id hangs below `/machine/peripheral`.
async fn nics(session: &Session) -> Result<Value, InspectError> {
    let mut nics = Vec::new();
    let container = "/machine/peripheral";
    for device in children(session, container).await? {
        let (Some(id), Some(kind)) = (device["name"].as_str(), device["type"].as_str()) else {
            continue;
        };
        let Some(kind) = kind
            .strip_prefix("child<")
            .and_then(|kind| kind.strip_suffix('>'))
        else {
            continue;
        };
        let path = format!("{container}/{id}");
        let properties = children(session, &path).await?;
        let has = |name: &str| properties.iter().any(|one| one["name"] == name);
        if !(has("netdev") && has("mac")) {
            continue;
        }
        let mut nic = json!({"id": id, "type": kind});
        for property in ["mac", "netdev"] {
            let arguments = json!({"path": path, "property": property});
            if let Ok(value) = execute(session, "qom-get", arguments).await? {
                nic[property] = value;
            }
        }
        nics.push(nic);
    }
    Ok(Value::Array(nics))
}

async fn children(session: &Session, path: &str) -> Result<Vec<Value>, InspectError> {
    let answer = execute(session, "qom-list", json!({"path": path})).await?;
    Ok(match answer {
        Ok(Value::Array(list)) => list,
        // Gone meanwhile, or a machine without any.
        _ => Vec::new(),
    })
}

/// The inner error is QEMU's refusal, the outer one the end of the road.
async fn execute(
    session: &Session,
    command: &str,
    arguments: Value,
) -> Result<Result<Value, ExecuteError>, InspectError> {
    match session.execute_raw(command, arguments, DEADLINE).await {
        Ok(value) => Ok(Ok(value)),
        Err(error @ ExecuteError::Refused { .. }) => Ok(Err(error)),
        Err(error) => Err(InspectError::Execute(error)),
    }
}

//! `exec`: one command, checked before it is sent.

use std::time::Duration;

use qmp::{Session, schema::Schema};
use serde_json::Value;

use super::{InspectArgs, InspectError, schema};
use crate::control::is_read_only;

/// Some commands take their time (`blockdev-snapshot-sync`, `device_add` of a large VF).
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) async fn exec(
    args: &InspectArgs,
    session: &Session,
    command: &str,
    arguments: Option<&str>,
) -> Result<Value, InspectError> {
    let arguments = match arguments {
        None => Value::Null,
        Some(text) => serde_json::from_str(text).map_err(|source| InspectError::Arguments {
            command: command.to_owned(),
            source,
        })?,
    };
    let schema = schema::read(session).await?;
    check(&schema, command, &arguments, args.allow_write)?;
    session
        .execute_raw(command, arguments, DEADLINE)
        .await
        .map_err(InspectError::Execute)
}

/// A mistyped name is said to be one before anything else is said of it.
fn check(
    schema: &Schema,
    command: &str,
    arguments: &Value,
    allow_write: bool,
) -> Result<(), InspectError> {
    let found = schema.check(command, arguments);
    if !found.is_empty() {
        return Err(InspectError::Misuse(found));
    }
    if !allow_write && !is_read_only(command) {
        let command = command.to_owned();
        return Err(InspectError::NotReadOnly { command });
    }
    Ok(())
}

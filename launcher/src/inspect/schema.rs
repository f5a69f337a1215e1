//! `schema`: what this QEMU knows. The plain list of names is what shell completion reads.

use std::io::Write;

use qmp::{
    Session,
    schema::{Member, Schema, nearest},
};
use serde_json::{Value, json};

use super::{
    DEADLINE, InspectError, Output, print_json,
    sheet::{self, Sheet},
};

/// Asks for the schema and reads it.
pub(super) async fn read(session: &Session) -> Result<Schema, InspectError> {
    let answer = session
        .execute_raw("query-qmp-schema", Value::Null, DEADLINE)
        .await
        .map_err(InspectError::Execute)?;
    Schema::parse(answer).map_err(InspectError::Schema)
}

pub(super) async fn show(
    session: &Session,
    name: Option<&str>,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    let schema = read(session).await?;
    let Some(name) = name else {
        return names(&schema, output, out);
    };
    match output {
        Output::Json => print_json(out, &describe(&schema, name)?, output),
        Output::Table => {
            let text = tell(&schema, name)?;
            out.write_all(text.as_bytes()).map_err(InspectError::Output)
        }
    }
}

fn names(schema: &Schema, output: Output, out: &mut dyn Write) -> Result<(), InspectError> {
    if output == Output::Json {
        let commands: Vec<&str> = schema.commands().collect();
        let events: Vec<&str> = schema.events().collect();
        return print_json(
            out,
            &json!({"commands": commands, "events": events}),
            output,
        );
    }
    for name in schema.commands().chain(schema.events()) {
        writeln!(out, "{}", super::escape::text(name)).map_err(InspectError::Output)?;
    }
    Ok(())
}

fn describe(schema: &Schema, name: &str) -> Result<Value, InspectError> {
    let members = |members: Vec<Member>| -> Vec<Value> {
        members
            .iter()
            .map(|member| {
                json!({
                    "name": member.name,
                    "type": schema.show(member),
                    "optional": member.optional,
                    "when": member.when,
                    "features": member.features,
                })
            })
            .collect()
    };
    if let Some(command) = schema.command(name) {
        return Ok(json!({
            "command": name,
            "arguments": members(schema.arguments(command)),
            "returns": schema.show_returns(command),
            "allow-oob": command.allow_oob,
            "features": command.features,
        }));
    }
    match schema.event(name) {
        Some(data) => Ok(json!({"event": name, "data": members(data)})),
        None => Err(unknown(schema, name)),
    }
}

fn tell(schema: &Schema, name: &str) -> Result<String, InspectError> {
    let (title, members, returns) = match schema.command(name) {
        Some(command) => {
            let mut title = format!("command {name}");
            for feature in &command.features {
                title += &format!(", {feature}");
            }
            if command.allow_oob {
                title += ", may run out of band";
            }
            let returns = schema.show_returns(command);
            (title, schema.arguments(command), Some(returns))
        }
        None => {
            let data = schema.event(name).ok_or_else(|| unknown(schema, name))?;
            (format!("event {name}"), data, None)
        }
    };
    let mut sheet = Sheet::new(title, &["NAME", "NEEDED", "TYPE", "NOTES"]);
    for member in &members {
        let needed = if member.optional { "" } else { "yes" };
        let mut notes = member.features.clone();
        notes.extend(member.when.as_ref().map(|when| format!("with {when}")));
        sheet.row([
            member.name.clone(),
            needed.to_owned(),
            schema.show(member),
            notes.join(", "),
        ]);
    }
    let mut sheets = vec![sheet];
    if let Some(returns) = returns {
        sheets.push(Sheet::facts("", [("returns", returns)]));
    }
    Ok(sheet::render(&sheets))
}

fn unknown(schema: &Schema, name: &str) -> InspectError {
    let known = schema.commands().chain(schema.events());
    InspectError::UnknownName {
        name: name.to_owned(),
        nearest: nearest(name, known).map(str::to_owned),
    }
}

//! `virt-launcher qmp`: looks at a running VM, through the supervisor or at the monitor itself.
//!
//! A VM is found (`find`), asked (`ask`), and the answers become tables for people (one file a subject
//! below `sheets`) or JSON for machines: an object from each QMP command to QEMU's own answer. Text that
//! a guest can influence reaches a terminal only with its control characters escaped (`escape`).

pub mod args;
mod ask;
mod error;
pub mod escape;
mod events;
mod exec;
mod find;
mod schema;
pub(crate) mod sheet;
mod sheets;
#[cfg(test)]
mod tests;

use std::{io::Write, time::Duration};

use qmp::Session;

pub use args::{InspectArgs, Output, Subject};
pub use error::InspectError;
pub use find::{Search, find};

/// Text that a guest can influence, safe for a terminal.
pub fn plain(text: &str) -> String {
    escape::text(text)
}

use crate::control::ALLOW_WRITE;

/// How long QEMU has for one query.
const DEADLINE: Duration = Duration::from_secs(10);

/// Does what `args` say, and writes the answer to `out`. A reader of `out` that leaves (`| head`) is no error.
pub async fn run(
    args: &InspectArgs,
    search: &Search,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    let target = find(args.socket.as_ref(), args.pod.as_ref(), search).await?;
    let options = qmp::Options {
        // The supervisor answers at once; at a monitor that somebody else holds nobody does.
        greeting: DEADLINE,
        enable: match args.allow_write {
            true => vec![ALLOW_WRITE.to_owned()],
            false => Vec::new(),
        },
        ..qmp::Options::default()
    };
    let path = target.as_std_path();
    let session =
        Session::connect(path, options)
            .await
            .map_err(|source| InspectError::Connect {
                path: target.clone(),
                source,
            })?;
    match show(args, &session, out).await {
        Err(InspectError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(())
        }
        result => result,
    }
}

async fn show(
    args: &InspectArgs,
    session: &Session,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    match &args.subject {
        Subject::Events => return events::follow(session, args.output, out).await,
        Subject::Exec { command, arguments } => {
            let answer = exec::exec(args, session, command, arguments.as_deref()).await?;
            return print_json(out, &answer, args.output);
        }
        Subject::Schema { name } => {
            return schema::show(session, name.as_deref(), args.output, out).await;
        }
        _ => {}
    }
    let answers = ask::ask(session, &args.subject).await?;
    match args.output {
        Output::Json => print_json(out, &answers.into_json(), Output::Json),
        Output::Table => {
            let text = sheet::render(&sheets::of(&args.subject, &answers));
            out.write_all(text.as_bytes()).map_err(InspectError::Output)
        }
    }
}

/// JSON, over many lines for people and on one for machines.
fn print_json(
    out: &mut dyn Write,
    value: &serde_json::Value,
    output: Output,
) -> Result<(), InspectError> {
    let text = match output {
        Output::Table => format!("{value:#}"),
        Output::Json => value.to_string(),
    };
    writeln!(out, "{}", escape::json(&text)).map_err(InspectError::Output)
}

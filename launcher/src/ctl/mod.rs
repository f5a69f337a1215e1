//! `virt-launcher ctl`: what can be done with a running VM, over its supervisor's control socket.
//!
//! Every answer is JSON on stdout; what the guest says through `console` and `exec` is passed on as it is.

pub mod args;
mod console;
mod error;
mod upgrade;
mod wait;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use qmp::Session;
use serde_json::{Value, json};

pub use args::{CtlArgs, Operation};
pub use error::CtlError;

use crate::control::{ALLOW_WRITE, PREFIX, STATUS_EVENTS};
use crate::inspect::{Search, escape, find};

/// The supervisor greets at once.
const GREETING: Duration = Duration::from_secs(10);
/// Any operation but those that say how long they take.
const ANSWER: Duration = Duration::from_secs(75);
/// The guest's command ends at its own timeout; the answer's way back is short.
const SLACK: Duration = Duration::from_secs(15);
/// A dump writes all of the guest's memory.
const DUMP: Duration = Duration::from_secs(3600);

/// A connection to a supervisor.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) session: Session,
    /// By which it was reached.
    pub(super) socket: Utf8PathBuf,
    /// Of the control socket: files that answers name are relative to it.
    pub(super) directory: Utf8PathBuf,
}

/// Does what `args` say; the answer is the exit code.
pub async fn run(args: &CtlArgs, search: &Search, out: &mut dyn Write) -> Result<u8, CtlError> {
    match operate(args, search, out).await {
        // A reader that leaves (`| head`) is no error.
        Err(CtlError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        result => result,
    }
}

async fn operate(args: &CtlArgs, search: &Search, out: &mut dyn Write) -> Result<u8, CtlError> {
    let desk = connect(args, search).await?;
    match &args.operation {
        Operation::Console { read_only } => {
            console::console(&desk, *read_only).await?;
            Ok(0)
        }
        Operation::Wait { state, timeout } => {
            print(out, &wait::wait(desk, *state, *timeout).await?)?;
            Ok(0)
        }
        Operation::Upgrade { program } => {
            print(out, &upgrade::upgrade(desk, program.as_deref()).await?)?;
            Ok(0)
        }
        Operation::Exec {
            command,
            args,
            timeout,
        } => exec(&desk, command, args, *timeout, out).await,
        Operation::Screenshot { file } => {
            let answer = desk.ask("screenshot", Value::Null, ANSWER).await?;
            print(out, &copied(&desk, &answer, file)?)?;
            Ok(0)
        }
        operation => {
            let (name, arguments) = operation.command();
            let deadline = match operation {
                Operation::MemoryDump { .. } => DUMP,
                _ => ANSWER,
            };
            print(out, &desk.ask(name, arguments, deadline).await?)?;
            Ok(0)
        }
    }
}

async fn connect(args: &CtlArgs, search: &Search) -> Result<Desk, CtlError> {
    Desk::at(find(args.socket.as_ref(), args.pod.as_ref(), search).await?).await
}

impl Desk {
    /// Connects to a supervisor's socket.
    pub(super) async fn at(socket: Utf8PathBuf) -> Result<Self, CtlError> {
        let options = qmp::Options {
            greeting: GREETING,
            enable: [ALLOW_WRITE, STATUS_EVENTS].map(str::to_owned).to_vec(),
            ..qmp::Options::default()
        };
        let session = Session::connect(socket.as_std_path(), options)
            .await
            .map_err(|source| CtlError::Connect {
                path: socket.clone(),
                source,
            })?;
        if !session
            .capabilities()
            .iter()
            .any(|one| one == STATUS_EVENTS)
        {
            return Err(CtlError::NoSupervisor { path: socket });
        }
        let directory = socket.parent().unwrap_or(Utf8Path::new("/")).to_owned();
        Ok(Self {
            session,
            socket,
            directory,
        })
    }

    pub(super) async fn ask(
        &self,
        name: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, CtlError> {
        let name = format!("{PREFIX}{name}");
        let answer = self.session.execute_raw(&name, arguments, deadline).await;
        answer.map_err(CtlError::Refused)
    }
}

fn print(out: &mut dyn Write, value: &Value) -> Result<(), CtlError> {
    // A guest has a hand in much of it.
    writeln!(out, "{}", escape::json(&format!("{value:#}"))).map_err(CtlError::Output)
}

/// QEMU's user may write to that directory: what it points elsewhere is not followed.
fn copy(from: &Utf8Path, name: &str, to: &Utf8Path) -> std::io::Result<u64> {
    let mut parts = Utf8Path::new(name).components();
    if name.is_empty() || !parts.all(|part| matches!(part, Utf8Component::Normal(_))) {
        return Err(std::io::Error::other(
            "the answer names no file of the VM's directory",
        ));
    }
    let mut from = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(from)?;
    if !from.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    std::io::copy(&mut from, &mut File::create(to)?)
}

/// The supervisor leaves a picture beside its sockets; it is taken from there, so that the pod need not see our files.
fn copied(desk: &Desk, answer: &Value, file: &Utf8Path) -> Result<Value, CtlError> {
    let name = answer["file"].as_str().unwrap_or_default();
    let from = desk.directory.join(name);
    let bytes = copy(&from, name, file).map_err(|source| CtlError::Copy {
        from,
        to: file.to_owned(),
        source,
    })?;
    Ok(json!({"file": file, "bytes": bytes}))
}

/// As virt-probe: the guest's output, and its exit code as ours.
async fn exec(
    desk: &Desk,
    command: &str,
    args: &[String],
    timeout: u64,
    out: &mut dyn Write,
) -> Result<u8, CtlError> {
    let arguments = json!({"command": command, "args": args, "timeout-seconds": timeout});
    let deadline = Duration::from_secs(timeout).saturating_add(SLACK);
    let answer = desk.ask("exec", arguments, deadline).await?;
    let decoded = |key: &str| {
        let text = answer[key].as_str().unwrap_or_default();
        BASE64_STANDARD.decode(text).unwrap_or_default()
    };
    out.write_all(&decoded("out-data"))
        .and_then(|()| out.flush())
        .and_then(|()| std::io::stderr().write_all(&decoded("err-data")))
        .map_err(CtlError::Output)?;
    let code = answer["exit-code"].as_i64().unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

//! What the control socket takes for the VM itself: operations for the loop, and what needs no decision.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use numa::HostRoot;
use qmp::{Delivery, Session};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::agent::Port;
use super::step::Dump;
use super::step::operation::{Operation, Why};
use super::upgrade;
use super::wishes::{self, Wishes};
use crate::confine;
use crate::control::{Answering, Own};
use crate::verify::confinement::{Landlock, Shown};

/// A command that only flips a state in QEMU, or draws a picture.
const ANSWER: Duration = Duration::from_secs(20);
/// A guest's whole memory to a slow disk.
const DUMP: Duration = Duration::from_secs(3600);
/// A name for QEMU's monitor.
const DUMP_FD: &str = "virt-launcher-dump";
const LONGEST_EXEC: u64 = 3600;
/// It is shown in the status.
const LONGEST_ID: usize = 64;

/// Everything it takes to answer, for as long as one session lives.
#[derive(Debug)]
pub struct Desk {
    /// To QEMU.
    pub session: Session,
    /// To the loop.
    pub wishes: Wishes,
    /// To the guest.
    pub agent: Port,
    /// As it changes.
    pub status: watch::Receiver<Arc<Value>>,
    /// The VM's private directory, and its name in that of the control socket.
    pub directory: Utf8PathBuf,
}

impl Own for Desk {
    fn run(self: Arc<Self>, name: String, arguments: Value) -> Answering {
        // Beside the client: what was begun is ended, whether or not somebody waits for it.
        let task = tokio::spawn(async move { self.answer(&name, arguments).await });
        Box::pin(async move {
            task.await
                .unwrap_or_else(|_| Err("the supervisor gave it up".to_owned()))
        })
    }

    fn watch(&self) -> watch::Receiver<Arc<Value>> {
        self.status.clone()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Freeze {
    thaw_after_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryDump {
    file: Utf8PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upgrade {
    file: String,
    sha256: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Exec {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    timeout_seconds: u64,
}

impl Desk {
    async fn answer(&self, name: &str, arguments: Value) -> Result<Value, String> {
        let operation = match name {
            "status" => return Ok(self.status.borrow().as_ref().clone()),
            "confinement" => return Ok(json!(self.confinement())),
            "screenshot" => return self.screenshot().await,
            "memory-dump" => return self.dump(&read::<MemoryDump>(arguments)?.file).await,
            "ping" => return self.ping().await,
            "exec" => return self.exec(read(arguments)?).await,
            "upgrade" => return self.upgrade(read(arguments)?).await,
            "pause" => Operation::Pause,
            "unpause" => Operation::Unpause,
            "shutdown" => Operation::Shutdown,
            "soft-reboot" => Operation::SoftReboot,
            "reset" => Operation::Reset,
            "kill" => Operation::Kill,
            "thaw" => Operation::Thaw,
            "freeze" => Operation::Freeze {
                thaw_after: Duration::from_secs(read::<Freeze>(arguments)?.thaw_after_seconds),
            },
            other => return Err(format!("there is no operation `{other}`")),
        };
        let changed = self.wishes.ask(operation).await;
        let changed = changed.map_err(|error| error.to_string())?;
        Ok(json!({"operation": name, "changed": changed}))
    }

    /// Shown now, by this process.
    fn confinement(&self) -> Shown {
        let status = self.status.borrow();
        if status["landlock"].is_null() {
            return Shown::ABSENT;
        }
        let pid = |who: &str| status["pids"][who].as_i64().unwrap_or(0);
        let others = ["pid1", "qemu"].map(|who| i32::try_from(pid(who)).unwrap_or(0));
        let (held, others) = confine::shown(&HostRoot::default(), &others);
        let one = |held| if held { Landlock::Held } else { Landlock::Free };
        Shown {
            supervisor: one(held),
            pid1: one(others.first() == Some(&true)),
            qemu: one(others.get(1) == Some(&true)),
        }
    }

    /// QEMU writes to a file that we opened: it need not open any itself.
    async fn screenshot(&self) -> Result<Value, String> {
        let path = self.directory.join("screenshot.png");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| format!("cannot make `{path}`: {error}"))?;
        let command = qmp::qmp::add_fd {
            fdset_id: None,
            opaque: Some("screenshot".to_owned()),
        };
        let files = vec![file.into()];
        let added = self.session.execute_with_fds(command, files, ANSWER).await;
        let set = added
            .map_err(|error| crate::causes::chain(&error))?
            .fdset_id;
        let picture = json!({"filename": format!("/dev/fdset/{set}"), "format": "png"});
        let drawn = self
            .session
            .execute_raw("screendump", picture, ANSWER)
            .await;
        let set = json!({"fdset-id": set});
        let _gone = self.session.execute_raw("remove-fd", set, ANSWER).await;
        drawn.map_err(|error| crate::causes::chain(&error))?;
        let below = self.directory.file_name().unwrap_or_default();
        Ok(json!({"file": format!("{below}/screenshot.png")}))
    }

    async fn dump(&self, path: &Utf8Path) -> Result<Value, String> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|error| format!("cannot make `{path}`: {error}"))?;
        // Known before the guest stands still, so that whoever looks is told why.
        let told = self.wishes.dump(Dump::Begins).await;
        told.map_err(|error| error.to_string())?;
        let dumped = self.dump_to(file).await;
        let _supervisor_gone = self.wishes.dump(Dump::Ended).await;
        if dumped.is_err() {
            let _only_ours = std::fs::remove_file(path);
        }
        dumped?;
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        Ok(json!({"file": path, "bytes": bytes}))
    }

    async fn dump_to(&self, file: File) -> Result<(), String> {
        let mut events = self.session.events();
        let command = qmp::qmp::getfd {
            fdname: DUMP_FD.to_owned(),
        };
        let given = self
            .session
            .execute_with_fds(command, vec![file.into()], ANSWER);
        given.await.map_err(|error| crate::causes::chain(&error))?;
        // Detached: the monitor must stay free for the guest's whole memory's time.
        let dump = json!({"paging": false, "protocol": format!("fd:{DUMP_FD}"), "detach": true});
        let begun = self.session.execute_raw("dump-guest-memory", dump, ANSWER);
        begun.await.map_err(|error| crate::causes::chain(&error))?;
        let completed = async {
            loop {
                match events.next().await {
                    Some(Delivery::Event(event)) if event.name == "DUMP_COMPLETED" => {
                        return match event.data["error"].as_str() {
                            Some(error) => Err(error.to_owned()),
                            None => Ok(()),
                        };
                    }
                    Some(_) => {}
                    None => return Err("QEMU ended over it".to_owned()),
                }
            }
        };
        tokio::time::timeout(DUMP, completed)
            .await
            .unwrap_or_else(|_| Err("QEMU did not finish the dump in time".to_owned()))
    }

    /// What follows is told by the status.
    async fn upgrade(&self, upgrade: Upgrade) -> Result<Value, String> {
        let Upgrade { file, sha256, id } = upgrade;
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(format!("an upgrade's id has 1 to {LONGEST_ID} bytes"));
        }
        let directory = self.directory.clone();
        let staged =
            tokio::task::spawn_blocking(move || upgrade::stage(&directory, &file, &sha256));
        let program = match staged.await {
            Ok(staged) => staged.map_err(|error| crate::causes::chain(&error))?,
            Err(error) => return Err(error.to_string()),
        };
        let begun = self.wishes.upgrade(wishes::Upgrade { id, program }).await;
        let changed = begun.map_err(|error| error.to_string())?;
        Ok(json!({"operation": "upgrade", "changed": changed}))
    }

    async fn ping(&self) -> Result<Value, String> {
        self.ask_agent("guest-ping", Value::Null).await?;
        Ok(json!({"agent": "answers"}))
    }

    /// The agent tells nobody when a command has ended, so it is asked, less and less often.
    async fn exec(&self, exec: Exec) -> Result<Value, String> {
        let Exec {
            command,
            args,
            timeout_seconds,
        } = exec;
        let arguments = json!({"path": command, "arg": args, "capture-output": true});
        let begun = self.ask_agent("guest-exec", arguments).await?;
        let pid = json!({"pid": begun["pid"]});
        let ended = async {
            let mut pause = Duration::from_millis(20);
            loop {
                let status = self.ask_agent("guest-exec-status", pid.clone()).await?;
                if status["exited"] == true {
                    return Ok(exited(&status));
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        };
        let limit = Duration::from_secs(timeout_seconds.min(LONGEST_EXEC));
        tokio::time::timeout(limit, ended)
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "`{command}` did not end in {timeout_seconds} s; it runs on in the guest"
                ))
            })
    }

    async fn ask_agent(&self, name: &str, arguments: Value) -> Result<Value, String> {
        if self.status.borrow()["agentConnected"] != true {
            return Err(Why::NoAgent.to_string());
        }
        self.agent
            .ask(name, arguments)
            .await
            .map_err(|error| crate::causes::chain(&error))
    }
}

/// As shells have it, a command that a signal ended has 128 and the signal's number.
fn exited(status: &Value) -> Value {
    let signal = status["signal"]
        .as_i64()
        .map(|signal| 128_i64.saturating_add(signal));
    json!({
        "exit-code": status["exitcode"].as_i64().or(signal).unwrap_or(1),
        "out-data": status["out-data"].as_str().unwrap_or_default(),
        "err-data": status["err-data"].as_str().unwrap_or_default(),
        "truncated": status["out-truncated"] == true || status["err-truncated"] == true,
    })
}

fn read<T: for<'a> Deserialize<'a>>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| format!("wrong arguments: {error}"))
}

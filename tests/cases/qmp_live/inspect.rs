//! `virt-launcher qmp` through the supervisor's socket, and at the monitor itself.

use std::io::{self, Write};
use std::sync::Arc;

use camino::Utf8PathBuf;
use launcher::{
    control::{self, Answering, Own, Policy},
    inspect::{self, InspectArgs, InspectError, Output, Search, Subject},
};
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::Qemu;

const MACHINE: &[&str] = &[
    "-S",
    "-machine",
    "q35,accel=tcg",
    "-m",
    "64M",
    "-smp",
    "2",
    "-object",
    r#"{"qom-type": "iothread", "id": "io1"}"#,
    "-blockdev",
    r#"{"driver": "null-co", "node-name": "n1", "size": 1048576}"#,
    "-device",
    r#"{"driver": "virtio-blk-pci", "id": "ua-disk0", "drive": "n1", "iothread": "io1"}"#,
    "-netdev",
    r#"{"type": "hubport", "id": "hostua-net", "hubid": 0}"#,
    "-device",
    r#"{"driver": "virtio-net-pci", "id": "ua-net", "netdev": "hostua-net", "mac": "02:00:00:00:00:07"}"#,
];

fn args(socket: &Utf8PathBuf, subject: Subject) -> InspectArgs {
    InspectArgs {
        socket: Some(socket.clone()),
        pod: None,
        allow_write: true,
        output: Output::Table,
        subject,
    }
}

fn exec(command: &str) -> Subject {
    Subject::Exec {
        command: command.to_owned(),
        arguments: None,
    }
}

async fn shown(args: &InspectArgs) -> Result<String, InspectError> {
    let mut out = Vec::new();
    inspect::run(args, &Search::default(), &mut out).await?;
    Ok(String::from_utf8(out).expect("utf-8"))
}

/// No supervisor is behind the socket: it has no operation of its own.
#[derive(Debug)]
struct Nobody(watch::Sender<Arc<Value>>);

impl Own for Nobody {
    fn run(self: Arc<Self>, name: String, _: Value) -> Answering {
        Box::pin(async move { Err(format!("there is no operation `{name}`")) })
    }

    fn watch(&self) -> watch::Receiver<Arc<Value>> {
        self.0.subscribe()
    }
}

/// A machine with the inspection socket before it. The monitor is held, as by a supervisor.
async fn supervised(qemu: &Qemu) -> Utf8PathBuf {
    let path = qemu.dir.path().join("control.sock");
    let path = Utf8PathBuf::from_path_buf(path).expect("utf-8");
    let listener = control::bind(&path).expect("bound");
    let listener = UnixListener::from_std(listener).expect("registered");
    let policy = Policy::for_uid(nix::unistd::geteuid().as_raw());
    let nobody = Arc::new(Nobody(watch::Sender::new(Arc::default())));
    tokio::spawn(control::serve(
        listener,
        qemu.connect(1).await,
        nobody,
        policy,
    ));
    path
}

#[tokio::test]
async fn every_subject_by_the_supervisor_and_by_the_monitor() {
    let subjects = [
        (Subject::Status, "prelaunch"),
        (Subject::Cpus, "qemu64-x86_64"),
        (Subject::Memory, "64 MiB"),
        (Subject::Block, "ua-disk0"),
        (Subject::Pci, "ua-net"),
        (Subject::Net, "02:00:00:00:00:07"),
        (Subject::Iothreads, "io1"),
        (Subject::Migration, "never migrated"),
        (exec("query-status"), "prelaunch"),
        (Subject::Schema { name: None }, "query-status"),
        (
            Subject::Schema {
                name: Some("blockdev-add".to_owned()),
            },
            "node-name",
        ),
    ];
    for through_supervisor in [true, false] {
        let qemu = Qemu::machine(MACHINE);
        let socket = match through_supervisor {
            true => supervised(&qemu).await,
            false => Utf8PathBuf::from_path_buf(qemu.socket()).expect("utf-8"),
        };
        for (subject, word) in &subjects {
            let mut args = args(&socket, subject.clone());
            let text = shown(&args).await.expect("an answer");
            assert!(text.contains(word), "{subject:?}: {text}");
            args.output = Output::Json;
            let text = shown(&args).await.expect("an answer");
            serde_json::from_str::<Value>(&text).expect("JSON");
        }
    }
}

#[tokio::test]
async fn a_vm_is_driven_only_with_leave() {
    let qemu = Qemu::machine(MACHINE);
    let mut args = args(&supervised(&qemu).await, exec("cont"));
    args.allow_write = false;
    let error = shown(&args).await.expect_err("no leave");
    assert!(matches!(error, InspectError::NotReadOnly { .. }), "{error}");
    args.allow_write = true;
    assert_eq!(shown(&args).await.expect("an answer"), "{}\n");
    args.subject = Subject::Status;
    assert!(shown(&args).await.expect("an answer").contains("running"));
}

/// Interrupts its own process when it is written the first whole line.
#[derive(Default)]
struct Interrupting(Vec<u8>);

impl Write for Interrupting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGINT).map_err(io::Error::from)
    }
}

#[tokio::test]
async fn events_follow_until_interrupted() {
    let qemu = Qemu::machine(MACHINE);
    let socket = supervised(&qemu).await;
    let follow = args(&socket, Subject::Events);
    let mut out = Interrupting::default();
    let following = async { inspect::run(&follow, &Search::default(), &mut out).await };
    // The guest is let go again and again until the follower, whenever it was let in, has seen it.
    let driving = async {
        loop {
            for command in ["cont", "stop"] {
                shown(&args(&socket, exec(command)))
                    .await
                    .expect("an answer");
            }
        }
    };
    tokio::select! {
        ended = following => ended.expect("an interrupt is a good end"),
        () = driving => {}
    }
    let text = String::from_utf8(out.0).expect("utf-8");
    assert!(!text.is_empty());
    assert!(
        text.lines()
            .all(|line| line.ends_with("RESUME") || line.ends_with("STOP")),
        "{text}"
    );
}

//! The session against a real QEMU: no machine in it, so that nothing but the monitor runs.

use std::{
    io::Read,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use qmp::{CloseReason, ErrorClass, ExecuteError, Known, Options, Session, schema::Schema};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// A QEMU that listens on a socket of ours. Ends with the test.
struct Qemu {
    child: Child,
    dir: tempfile::TempDir,
}

impl Qemu {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("qmp")).expect("a socket");
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-M",
                "none",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
            ])
            // The listener is descriptor 0: bound before QEMU runs, so that nobody need wait for a path.
            .args([
                "-chardev",
                "socket,id=m,fd=0,server=on,wait=off",
                "-mon",
                "chardev=m,mode=control",
            ])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("this test needs qemu-system-x86_64 in PATH");
        Self { child, dir }
    }

    async fn connect(&self, generation: u64) -> Session {
        let options = Options {
            greeting: LONG,
            generation,
            ..Options::default()
        };
        Session::connect(&self.dir.path().join("qmp"), options)
            .await
            .expect("a session")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn parallel_queries_typed_and_raw() {
    let qemu = Qemu::start();
    let session = qemu.connect(3).await;
    assert!(session.has_oob());
    assert!(session.version().major >= 9, "{}", session.version());
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.execute(qmp::qmp::query_status {}, LONG).await })
        })
        .collect();
    let yank = qmp::qmp::yank {
        instances: Vec::new(),
    };
    session.execute_oob(yank, LONG).await.expect("out of band");
    for call in calls {
        assert!(call.await.expect("no panic").expect("a status").running);
    }
    let error = session
        .execute_raw("device_del", json!({"id": "x"}), LONG)
        .await
        .expect_err("no such device");
    assert_eq!(
        error.refusal().map(|(class, _)| class),
        Some(&ErrorClass::DeviceNotFound)
    );
    let error = session
        .execute_raw_oob("query-status", Value::Null, LONG)
        .await
        .expect_err("not allowed");
    assert!(error.refusal().is_some(), "{error}");
    let counters = session.counters();
    assert_eq!(
        (
            counters.garbage(),
            counters.unknown_ids(),
            counters.late_replies()
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_cancelled_call_and_an_overlong_reply() {
    let qemu = Qemu::start();
    let session = qemu.connect(1).await;
    let error = session
        .execute_raw("query-qmp-schema", Value::Null, Duration::ZERO)
        .await
        .expect_err("no time");
    assert!(matches!(error, ExecuteError::Timeout { .. }));
    session
        .execute(qmp::qmp::query_name {}, LONG)
        .await
        .expect("healthy");
    drop(session);

    // Another connection, which may still get what the first had asked for.
    let options = Options {
        greeting: LONG,
        generation: 2,
        limit: 4096,
        ..Options::default()
    };
    let session = Session::connect(&qemu.dir.path().join("qmp"), options)
        .await
        .expect("a session");
    let error = session
        .execute_raw("query-qmp-schema", Value::Null, LONG)
        .await
        .expect_err("too large");
    assert!(
        matches!(error, ExecuteError::TooLarge { limit: 4096, .. }),
        "{error}"
    );
    session
        .execute(qmp::qmp::query_name {}, LONG)
        .await
        .expect("healthy");
}

#[tokio::test]
async fn descriptors_arrive() {
    let qemu = Qemu::start();
    let session = qemu.connect(1).await;
    let (mut ours, theirs) = std::io::pipe().expect("a pipe");
    let getfd = qmp::qmp::getfd {
        fdname: "pipe".into(),
    };
    session
        .execute_with_fds(getfd, vec![theirs.into()], LONG)
        .await
        .expect("taken");
    let getfd = qmp::qmp::getfd {
        fdname: "none".into(),
    };
    session
        .execute(getfd, LONG)
        .await
        .expect_err("no descriptor came with it");
    let closefd = qmp::qmp::closefd {
        fdname: "pipe".into(),
    };
    session.execute(closefd, LONG).await.expect("QEMU had it");
    // QEMU had the only writer.
    let mut text = Vec::new();
    ours.read_to_end(&mut text).expect("end of file");
    assert!(text.is_empty());
}

#[tokio::test]
async fn quit_is_answered_told_and_ends_the_session() {
    let mut qemu = Qemu::start();
    let session = qemu.connect(1).await;
    let mut events = session.critical_events().expect("the first to ask");
    session
        .execute(qmp::qmp::quit {}, LONG)
        .await
        .expect("a reply");
    assert_eq!(session.closed().await, CloseReason::Eof { partial: 0 });
    let mut seen = Vec::new();
    while let Some(event) = events.next_event().await {
        seen.push(event);
    }
    let reason = seen.iter().find_map(|event| match &event.known {
        Some(Known::Shutdown {
            guest: false,
            reason,
        }) => Some(reason),
        _ => None,
    });
    assert!(*reason.expect("a SHUTDOWN event") == qmp::qmp::ShutdownCause::host_qmp_quit);
    assert!(qemu.child.wait().expect("a status").success());
}

#[tokio::test]
async fn the_schema_knows_this_qemus_commands() {
    let qemu = Qemu::start();
    let session = qemu.connect(1).await;
    let answer = session
        .execute_raw("query-qmp-schema", Value::Null, LONG)
        .await
        .expect("a schema");
    let schema = Schema::parse(answer).expect("readable");
    assert!(schema.commands().count() > 200);
    assert!(schema.events().any(|name| name == "SHUTDOWN"));
    assert!(schema.command("yank").is_some_and(|yank| yank.allow_oob));
    let null = json!({"driver": "null-co", "node-name": "n", "read-zeroes": true});
    assert_eq!(schema.check("blockdev-add", &null), []);
    session
        .execute_raw("blockdev-add", null, LONG)
        .await
        .expect("QEMU agrees");
    let wrong = json!({"driver": "null-co", "node_name": "n", "size": "big"});
    let found: Vec<String> = schema
        .check("blockdev-add", &wrong)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "`size` must be `int`",
            "`node_name` is no argument; did you mean `node-name`?"
        ]
    );
    session
        .execute_raw("blockdev-add", wrong, LONG)
        .await
        .expect_err("QEMU agrees");
    // Every command's types can be shown.
    for name in schema.commands() {
        let command = schema.command(name).expect("listed");
        assert!(!schema.show_returns(command).is_empty(), "{name}");
        for argument in schema.arguments(command) {
            assert!(!schema.show(&argument).is_empty(), "{name}");
        }
    }
}

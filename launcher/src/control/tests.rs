//! The multiplexer between a fake QEMU and real clients over a socket in a directory.

use std::os::unix::fs::PermissionsExt;

use camino::Utf8PathBuf;
use qmp::{Options, Session, fake::Fake};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// Stands for the supervisor's own half.
#[derive(Debug)]
struct Nobody(watch::Sender<Arc<Value>>);

impl Own for Nobody {
    fn run(self: Arc<Self>, name: String, arguments: Value) -> Answering {
        Box::pin(async move {
            match name.as_str() {
                "status" => Ok(json!({"state": "Running"})),
                "pause" => Ok(arguments),
                other => Err(format!("there is no operation `{other}`")),
            }
        })
    }

    fn watch(&self) -> watch::Receiver<Arc<Value>> {
        self.0.subscribe()
    }
}

struct House {
    path: Utf8PathBuf,
    fake: Fake,
    status: watch::Sender<Arc<Value>>,
    served: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn house(policy: Policy) -> House {
    let dir = tempfile::tempdir().expect("a directory");
    let path = Utf8PathBuf::from_path_buf(dir.path().join("control.sock")).expect("utf-8");
    let (mut fake, stream) = Fake::pair().expect("a socket pair");
    let (session, negotiated) = tokio::join!(
        Session::start(stream, Options::default()),
        fake.negotiate(true)
    );
    negotiated.expect("negotiated");
    let listener = UnixListener::from_std(bind(&path).expect("bound")).expect("registered");
    let status = watch::Sender::new(Arc::default());
    let served = tokio::spawn(serve(
        listener,
        session.expect("a session"),
        Arc::new(Nobody(status.clone())),
        policy,
    ));
    House {
        path,
        fake,
        status,
        served,
        _dir: dir,
    }
}

fn own() -> Policy {
    Policy::for_uid(nix::unistd::geteuid().as_raw())
}

async fn session(house: &House, enable: &[&str]) -> Session {
    let enable = enable.iter().map(ToString::to_string).collect();
    let options = Options {
        greeting: LONG,
        enable,
        ..Options::default()
    };
    Session::connect(house.path.as_std_path(), options)
        .await
        .expect("a session")
}

/// A client that writes and reads lines as they are.
struct Raw {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Raw {
    async fn connect(house: &House) -> Self {
        let (reader, writer) = UnixStream::connect(&house.path)
            .await
            .expect("connected")
            .into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    async fn say(&mut self, line: &str) {
        self.writer
            .write_all(format!("{line}\n").as_bytes())
            .await
            .expect("sent");
    }

    /// Null at the end.
    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.expect("readable");
        if line.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&line).expect("JSON")
        }
    }
}

#[tokio::test]
async fn two_clients_share_the_session_with_ids_and_events_of_their_own() {
    let mut house = house(own()).await;
    assert_eq!(
        std::fs::metadata(&house.path)
            .expect("there")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let (one, two) = (session(&house, &[]).await, session(&house, &[]).await);
    let (mut events_one, mut events_two) = (one.events(), two.events());
    let serve = async {
        for _ in 0..2 {
            let call = house.fake.expect("query-name").await?;
            house.fake.reply(&call, json!({"name": call.id})).await?;
        }
        house.fake.event("STOP", Value::Null).await
    };
    let (first, second, served) = tokio::join!(
        one.execute_raw("query-name", Value::Null, LONG),
        two.execute_raw("query-name", Value::Null, LONG),
        serve
    );
    served.expect("served");
    // Both clients counted from 1; QEMU saw two different ids.
    assert_ne!(first.expect("a reply"), second.expect("a reply"));
    for events in [&mut events_one, &mut events_two] {
        let event = events.next_event().await.expect("an event");
        assert_eq!((event.name.as_str(), event.seconds), ("STOP", 1));
    }
    // The greeting is QEMU's, without what we do not offer.
    assert_eq!(
        (one.version().to_string().as_str(), one.has_oob()),
        ("10.0.2", false)
    );
}

#[tokio::test]
async fn clients_look_unless_they_ask_to_write_and_may() {
    let mut house = house(own()).await;
    let reader = session(&house, &[]).await;
    let error = reader
        .execute_raw("quit", Value::Null, LONG)
        .await
        .expect_err("read-only");
    let (_, desc) = error.refusal().expect("a refusal");
    assert_eq!(
        desc,
        "'quit' may change something: enable the capability 'allow-write' first"
    );
    let writer = session(&house, &[ALLOW_WRITE]).await;
    assert_eq!(writer.capabilities(), [ALLOW_WRITE]);
    let (answer, served) = tokio::join!(writer.execute_raw("stop", Value::Null, LONG), async {
        let call = house.fake.expect("stop").await?;
        house.fake.fail(&call, "KVMMissingCap", "no").await
    });
    served.expect("served");
    // QEMU's own refusal comes through as it is.
    assert_eq!(
        answer.expect_err("refused").refusal(),
        Some((&qmp::ErrorClass::KvmMissingCap, "no"))
    );
}

#[tokio::test]
async fn another_user_is_not_offered_to_write() {
    let house = house(Policy {
        writers: Vec::new(),
        ..own()
    })
    .await;
    let client = session(&house, &[ALLOW_WRITE]).await;
    assert!(client.capabilities().is_empty());
    client
        .execute_raw("quit", Value::Null, LONG)
        .await
        .expect_err("read-only");
    let mut raw = Raw::connect(&house).await;
    assert_eq!(
        raw.hear().await["QMP"]["capabilities"],
        json!([STATUS_EVENTS])
    );
    raw.say(r#"{"execute": "qmp_capabilities", "arguments": {"enable": ["allow-write"]}}"#)
        .await;
    assert_eq!(
        raw.hear().await["error"]["desc"],
        "QMP capability 'allow-write' is not available"
    );
    raw.say(r#"{"execute": "query-name"}"#).await;
    assert_eq!(raw.hear().await["error"]["class"], "CommandNotFound");
}

#[tokio::test]
async fn garbage_and_oversize_are_answered_and_survived() {
    let mut house = house(Policy {
        message: 1000,
        ..own()
    })
    .await;
    let mut raw = Raw::connect(&house).await;
    assert!(raw.hear().await["QMP"].is_object());
    raw.say(r#"{"execute": "qmp_capabilities", "id": {"a": 1}}"#)
        .await;
    assert_eq!(raw.hear().await, json!({"return": {}, "id": {"a": 1}}));
    let bad = [
        "garbage",
        "[1, 2]",
        r#"{"execute": 3}"#,
        r#"{"execute": "query-name", "arguments": []}"#,
        r#"{"execute": "query-name", "control": 1}"#,
        r#"{"exec-oob": "query-name"}"#,
        r#"{"execute": "qmp_capabilities", "arguments": {"enable": 3}}"#,
        r#"{"execute": "qmp_capabilities"}"#,
    ];
    for line in bad {
        raw.say(line).await;
        assert!(raw.hear().await["error"]["desc"].is_string(), "{line}");
    }
    raw.say(&format!(
        r#"{{"execute": "query-name", "id": "{}"}}"#,
        "x".repeat(2000)
    ))
    .await;
    assert_eq!(
        raw.hear().await["error"]["desc"],
        "message over the size limit"
    );
    raw.say(r#"{"execute": "query-name", "id": [7]}"#).await;
    let call = house.fake.expect("query-name").await.expect("the good one");
    house.fake.reply(&call, json!({})).await.expect("sent");
    assert_eq!(raw.hear().await, json!({"return": {}, "id": [7]}));
}

#[tokio::test]
async fn a_client_that_leaves_at_once_is_still_answered_in_order() {
    let mut house = house(own()).await;
    let mut raw = Raw::connect(&house).await;
    raw.say(r#"{"execute": "qmp_capabilities"}"#).await;
    for id in 0..20 {
        raw.say(&format!(r#"{{"execute": "query-name", "id": {id}}}"#))
            .await;
    }
    raw.writer.shutdown().await.expect("half closed");
    for name in 0..20 {
        let call = house.fake.expect("query-name").await.expect("a call");
        assert!(house.fake.idle().await, "one at a time");
        house
            .fake
            .reply(&call, json!({"name": name}))
            .await
            .expect("sent");
    }
    raw.hear().await;
    assert_eq!(raw.hear().await, json!({"return": {}}));
    for id in 0..20 {
        assert_eq!(raw.hear().await, json!({"return": {"name": id}, "id": id}));
    }
    assert_eq!(raw.hear().await, Value::Null);
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_and_others_are_not() {
    let mut house = house(Policy {
        patience: Duration::from_millis(200),
        ..own()
    })
    .await;
    let good = session(&house, &[]).await;
    let mut events = good.events();
    let mut slow = Raw::connect(&house).await;
    slow.say(r#"{"execute": "qmp_capabilities"}"#).await;
    slow.hear().await;
    slow.hear().await;
    for offset in 0..200 {
        house
            .fake
            .event(
                "RTC_CHANGE",
                json!({"offset": offset, "fill": "x".repeat(10_000)}),
            )
            .await
            .expect("sent");
        events.next_event().await.expect("the good client has it");
    }
    // The end comes though it never reads: what it writes meanwhile is not read either, until there is nobody to.
    while slow.writer.write_all(&[b' '; 4096]).await.is_ok() {}
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let house = house(Policy {
        hello: Duration::from_millis(20),
        ..own()
    })
    .await;
    let mut silent = Raw::connect(&house).await;
    silent.hear().await;
    assert_eq!(silent.hear().await, Value::Null);
}

#[tokio::test]
async fn one_client_too_many_is_turned_away() {
    let house = house(Policy {
        clients: 1,
        ..own()
    })
    .await;
    let client = session(&house, &[]).await;
    let mut second = Raw::connect(&house).await;
    assert_eq!(second.hear().await, Value::Null);
    drop(client);
}

#[tokio::test]
async fn clients_get_the_last_events_and_the_end() {
    let mut house = house(own()).await;
    let client = session(&house, &[]).await;
    let mut events = client.events();
    house
        .fake
        .event(
            "SHUTDOWN",
            json!({"guest": true, "reason": "guest-shutdown"}),
        )
        .await
        .expect("sent");
    drop(house.fake);
    assert_eq!(
        events.next_event().await.expect("an event").name,
        "SHUTDOWN"
    );
    assert_eq!(client.closed().await, qmp::CloseReason::Eof { partial: 0 });
    house.served.await.expect("served to the end");
}

#[tokio::test]
async fn the_supervisors_own_commands_never_reach_qemu() {
    let house = house(own()).await;
    let reader = session(&house, &[]).await;
    let status = reader
        .execute_raw("x-virt-launcher-status", Value::Null, LONG)
        .await;
    assert_eq!(status.expect("read-only")["state"], "Running");
    let refused = reader
        .execute_raw("x-virt-launcher-pause", Value::Null, LONG)
        .await;
    assert!(refused.is_err(), "a reader pauses nothing");
    let writer = session(&house, &[ALLOW_WRITE]).await;
    let paused = writer
        .execute_raw("x-virt-launcher-pause", json!({"a": 1}), LONG)
        .await;
    assert_eq!(paused.expect("paused"), json!({"a": 1}));
    let unknown = writer
        .execute_raw("x-virt-launcher-dance", Value::Null, LONG)
        .await;
    assert!(unknown.expect_err("unknown").to_string().contains("dance"));
}

#[tokio::test]
async fn the_status_is_told_at_once_and_when_it_changes() {
    let house = house(own()).await;
    let client = session(&house, &[STATUS_EVENTS]).await;
    let mut events = client.critical_events().expect("not taken yet");
    let first = events.next_event().await.expect("an event");
    assert_eq!(
        (first.name.as_str(), &first.data),
        (STATUS_EVENT, &Value::Null)
    );
    house
        .status
        .send_replace(Arc::new(json!({"state": "Paused"})));
    let second = events.next_event().await.expect("an event");
    assert_eq!(second.data["state"], "Paused");
}

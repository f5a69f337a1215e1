//! What a peer can do to a session, played by the fake server on a current-thread runtime.

use std::{fs::File, io::Read, io::Write, time::Duration};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::{Delivery, Known, fake::Fake};

const LONG: Duration = Duration::from_secs(60);
const NULL: Value = Value::Null;

async fn pair_with(options: Options, oob: bool) -> (Session, Fake) {
    let (mut fake, stream) = Fake::pair().expect("a socket pair");
    let (session, negotiated) = tokio::join!(Session::start(stream, options), fake.negotiate(oob));
    negotiated.expect("negotiated");
    (session.expect("a session"), fake)
}

async fn pair() -> (Session, Fake) {
    pair_with(Options::default(), true).await
}

/// A call in a task of its own.
fn call(
    session: &Session,
    name: &'static str,
) -> tokio::task::JoinHandle<Result<Value, ExecuteError>> {
    let session = session.clone();
    tokio::spawn(async move { session.execute_raw(name, NULL, LONG).await })
}

#[tokio::test]
async fn negotiation_enables_oob_and_ids_carry_the_generation() {
    let (mut fake, stream) = Fake::pair().expect("a socket pair");
    let options = Options {
        generation: 7,
        ..Options::default()
    };
    let (session, negotiated) = tokio::join!(Session::start(stream, options), fake.negotiate(true));
    let session = session.expect("a session");
    assert_eq!(
        negotiated.expect("negotiated").arguments,
        json!({"enable": ["oob"]})
    );
    assert!(session.has_oob());
    assert_eq!(session.version().to_string(), "10.0.2");
    let answer = call(&session, "query-name");
    let asked = fake.expect("query-name").await.expect("a call");
    assert_eq!(asked.id, "7-1");
    fake.reply(&asked, json!({"name": "vm"}))
        .await
        .expect("sent");
    assert_eq!(
        answer.await.expect("no panic").expect("a reply")["name"],
        "vm"
    );
}

#[tokio::test]
async fn the_greeting_need_not_come_first() {
    let (mut fake, stream) = Fake::pair().expect("a socket pair");
    fake.raw(b"tail of something\"}}\r\n{\"return\": {}, \"id\": \"6-3\"}\n")
        .await
        .expect("sent");
    fake.event("STOP", NULL).await.expect("sent");
    let (session, negotiated) = tokio::join!(Session::start(stream, Options::default()), async {
        fake.greet(false).await?;
        let asked = fake.expect("qmp_capabilities").await?;
        fake.event("RESUME", NULL).await?;
        fake.reply(&asked, json!({})).await?;
        // In one packet with the reply, as QEMU may.
        fake.event("RTC_CHANGE", json!({"offset": 1})).await
    });
    negotiated.expect("negotiated");
    let session = session.expect("a session");
    assert!(!session.has_oob());
    assert_eq!(
        (
            session.counters().garbage(),
            session.counters().unknown_ids()
        ),
        (1, 1)
    );
    let mut events = session.critical_events().expect("first");
    for name in ["STOP", "RESUME", "RTC_CHANGE"] {
        assert_eq!(events.next_event().await.expect("an event").name, name);
    }
}

#[tokio::test]
async fn no_greeting_is_an_error_and_so_is_a_refusal() {
    let (_fake, stream) = Fake::pair().expect("a socket pair");
    let options = Options {
        greeting: Duration::from_millis(1),
        ..Options::default()
    };
    let error = Session::start(stream, options).await.expect_err("silence");
    assert!(matches!(error, ConnectError::NoGreeting { .. }), "{error}");

    let (mut fake, stream) = Fake::pair().expect("a socket pair");
    let (session, _) = tokio::join!(Session::start(stream, Options::default()), async {
        fake.greet(true).await?;
        let asked = fake.expect("qmp_capabilities").await?;
        fake.fail(&asked, "GenericError", "no").await
    });
    assert!(matches!(session, Err(ConnectError::Capabilities { .. })));

    let (mut fake, stream) = Fake::pair().expect("a socket pair");
    fake.raw(b"{\"QM").await.expect("sent");
    drop(fake);
    let error = Session::start(stream, Options::default())
        .await
        .expect_err("closed");
    assert_eq!(
        error.to_string(),
        "the connection ended during negotiation: the peer closed the connection 4 bytes into a message"
    );
}

#[tokio::test]
async fn unknown_events_and_new_values_are_delivered() {
    let (session, mut fake) = pair().await;
    let mut events = session.events();
    fake.event("HOLOGRAM", json!({"a": [1]}))
        .await
        .expect("sent");
    fake.event(
        "GUEST_PANICKED",
        json!({"action": "levitate", "info": {"type": "tdx"}}),
    )
    .await
    .expect("sent");
    assert_eq!(
        events.next_event().await.expect("an event").data,
        json!({"a": [1]})
    );
    let panicked = events.next_event().await.expect("an event");
    assert!(matches!(panicked.known, Some(Known::GuestPanicked { .. })));
    let answer = call(&session, "query-name");
    let asked = fake.expect("query-name").await.expect("a call");
    fake.reply(&asked, json!({})).await.expect("sent");
    answer.await.expect("no panic").expect("still alive");
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_session_healthy() {
    let (session, mut fake) = pair().await;
    let first = call(&session, "query-block");
    let late = fake.expect("query-block").await.expect("a call");
    first.abort();
    assert!(first.await.expect_err("cancelled").is_cancelled());
    let second = call(&session, "query-name");
    let asked = fake.expect("query-name").await.expect("a call");
    fake.reply(&late, json!([])).await.expect("sent");
    fake.reply(&late, json!([])).await.expect("sent");
    fake.reply(&asked, json!({"name": "vm"}))
        .await
        .expect("sent");
    assert_eq!(
        second.await.expect("no panic").expect("its own reply")["name"],
        "vm"
    );
    assert_eq!(
        (
            session.counters().late_replies(),
            session.counters().unknown_ids()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_timeout_is_an_error_with_the_command() {
    let (session, mut fake) = pair().await;
    let error = session
        .execute(crate::qmp::query_status {}, Duration::ZERO)
        .await
        .expect_err("no time");
    assert!(
        matches!(&error, ExecuteError::Timeout { command, .. } if command == "query-status"),
        "{error}"
    );
    // The next call is answered although that one, if it was sent at all, never is.
    let answer = call(&session, "quit");
    loop {
        let asked = fake.next().await.expect("readable").expect("a call");
        if asked.name == "quit" {
            fake.reply(&asked, json!({})).await.expect("sent");
            break;
        }
    }
    answer.await.expect("no panic").expect("a reply");
}

#[tokio::test]
async fn a_hundred_calls_go_through_a_window_below_qemus_limit() {
    let (session, mut fake) = pair().await;
    let answers: Vec<_> = (0..100).map(|_| call(&session, "query-name")).collect();
    let mut window = Vec::new();
    for _ in 0..7 {
        window.push(fake.expect("query-name").await.expect("a call"));
    }
    // Out of band passes although the window is full.
    let (urgent, served) = tokio::join!(
        session.execute_raw_oob("yank", json!({"instances": []}), LONG),
        async {
            let asked = fake.expect("yank").await?;
            assert!(asked.oob);
            fake.reply(&asked, json!({})).await
        }
    );
    served.expect("served");
    urgent.expect("a reply");
    for asked in window {
        fake.reply(&asked, json!({"name": asked.id}))
            .await
            .expect("sent");
    }
    for _ in 7..100 {
        let asked = fake.expect("query-name").await.expect("a call");
        fake.reply(&asked, json!({"name": asked.id}))
            .await
            .expect("sent");
    }
    let mut names = Vec::new();
    for answer in answers {
        names.push(answer.await.expect("no panic").expect("a reply")["name"].to_string());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100);
}

#[tokio::test]
async fn errors_keep_class_and_words() {
    let (session, mut fake) = pair_with(Options::default(), false).await;
    let answer = call(&session, "device_del");
    let asked = fake.expect("device_del").await.expect("a call");
    fake.fail(&asked, "DeviceNotFound", "Device 'x' not found")
        .await
        .expect("sent");
    let error = answer.await.expect("no panic").expect_err("refused");
    assert_eq!(
        error.refusal(),
        Some((&crate::ErrorClass::DeviceNotFound, "Device 'x' not found"))
    );
    let error = session
        .execute_raw_oob("yank", NULL, LONG)
        .await
        .expect_err("not offered");
    assert!(matches!(error, ExecuteError::NoOutOfBand { .. }));
    let error = session
        .execute_raw("x", json!([1]), LONG)
        .await
        .expect_err("no object");
    assert!(matches!(error, ExecuteError::Encode { .. }));
}

#[tokio::test]
async fn a_reply_of_another_type_is_an_error() {
    let (session, mut fake) = pair().await;
    let (answer, served) =
        tokio::join!(session.execute(crate::qmp::query_status {}, LONG), async {
            let asked = fake.expect("query-status").await?;
            fake.reply(&asked, json!({"status": "levitating", "running": true}))
                .await
        });
    served.expect("served");
    assert!(matches!(answer, Err(ExecuteError::Decode { .. })));
}

#[tokio::test]
async fn an_overlong_reply_fails_its_own_call_only() {
    let (session, mut fake) = pair_with(
        Options {
            limit: 1000,
            ..Options::default()
        },
        true,
    )
    .await;
    let big = call(&session, "query-qmp-schema");
    let small = call(&session, "query-name");
    let asked_big = fake.expect("query-qmp-schema").await.expect("a call");
    let asked_small = fake.expect("query-name").await.expect("a call");
    fake.reply(&asked_big, json!("x".repeat(5000)))
        .await
        .expect("sent");
    fake.reply(&asked_small, json!({})).await.expect("sent");
    let error = big.await.expect("no panic").expect_err("too large");
    assert!(
        matches!(
            error,
            ExecuteError::TooLarge {
                bytes: 5000..,
                limit: 1000,
                ..
            }
        ),
        "{error}"
    );
    small.await.expect("no panic").expect("a reply");
    assert_eq!(session.counters().overlong(), 1);
}

#[tokio::test]
async fn garbage_is_skipped_and_a_run_of_it_ends_the_session() {
    let (session, mut fake) = pair().await;
    let answer = call(&session, "query-name");
    let asked = fake.expect("query-name").await.expect("a call");
    fake.raw(b"\xff\xfe garbage\n\n{\"half\": \n[]\n")
        .await
        .expect("sent");
    fake.reply(&asked, json!({})).await.expect("sent");
    answer.await.expect("no panic").expect("a reply");
    assert_eq!(session.counters().garbage(), 3);
    fake.raw("no QMP\n".repeat(64).as_bytes())
        .await
        .expect("sent");
    assert_eq!(session.closed().await, CloseReason::NotQmp { lines: 64 });
}

#[tokio::test]
async fn eof_mid_message_fails_calls_with_the_reason() {
    let (session, mut fake) = pair().await;
    let mut events = session.events();
    let answer = call(&session, "query-name");
    fake.expect("query-name").await.expect("a call");
    fake.raw(b"{\"return\"").await.expect("sent");
    drop(fake);
    let reason = CloseReason::Eof { partial: 9 };
    let error = answer.await.expect("no panic").expect_err("closed");
    assert!(
        matches!(&error, ExecuteError::Closed { reason: why, .. } if *why == reason),
        "{error}"
    );
    assert_eq!(session.closed().await, reason);
    assert_eq!(session.close_reason(), Some(reason));
    assert!(events.next().await.is_none());
    let error = session
        .execute_raw("quit", NULL, LONG)
        .await
        .expect_err("closed");
    assert!(matches!(error, ExecuteError::Closed { .. }));
}

#[tokio::test]
async fn the_last_handle_ends_the_session_and_so_does_close() {
    let (session, mut fake) = pair().await;
    let clone = session.clone();
    drop(session);
    let answer = call(&clone, "query-name");
    let asked = fake.expect("query-name").await.expect("a call");
    fake.reply(&asked, json!({})).await.expect("sent");
    answer.await.expect("no panic").expect("a reply");
    drop(clone);
    assert!(fake.next().await.expect("readable").is_none());

    let (session, mut fake) = pair().await;
    let answer = call(&session, "query-name");
    fake.expect("query-name").await.expect("a call");
    session.close();
    assert!(matches!(
        answer.await.expect("no panic"),
        Err(ExecuteError::Closed {
            reason: CloseReason::Local,
            ..
        })
    ));
}

#[tokio::test]
async fn a_subscriber_that_never_reads_blocks_nobody() {
    let (session, mut fake) = pair().await;
    let mut idle = session.events();
    let mut critical = session.critical_events().expect("first");
    for offset in 0..2000 {
        fake.event("RTC_CHANGE", json!({"offset": offset}))
            .await
            .expect("sent");
    }
    fake.event(
        "SHUTDOWN",
        json!({"guest": true, "reason": "guest-shutdown"}),
    )
    .await
    .expect("sent");
    let answer = call(&session, "query-name");
    let asked = fake.expect("query-name").await.expect("a call");
    fake.reply(&asked, json!({})).await.expect("sent");
    answer.await.expect("no panic").expect("a reply");
    assert!(matches!(idle.next().await, Some(Delivery::Missed(1745))));
    session.close();
    let mut last = None;
    while let Some(event) = critical.next_event().await {
        last = Some(event);
    }
    assert_eq!(last.expect("events").name, "SHUTDOWN");
}

#[tokio::test]
async fn descriptors_go_with_their_command_one_at_a_time() {
    let (session, mut fake) = pair().await;
    let (mut ours, theirs) = std::io::pipe().expect("a pipe");
    let getfd = |name: &str| crate::qmp::getfd {
        fdname: name.to_owned(),
    };
    let second = session.clone();
    let first_fd = vec![OwnedFd::from(theirs.try_clone().expect("a clone"))];
    let second_fd = vec![OwnedFd::from(theirs)];
    let (first, second, served) = tokio::join!(
        session.execute_with_fds(getfd("a"), first_fd, LONG),
        second.execute_with_fds(getfd("b"), second_fd, LONG),
        async {
            let mut files: Vec<File> = Vec::new();
            for name in ["a", "b"] {
                let mut asked = fake.expect("getfd").await?;
                assert_eq!(
                    (asked.arguments["fdname"].as_str(), asked.fds.len()),
                    (Some(name), 1)
                );
                // QEMU would forget this descriptor if the next came before it answered.
                assert!(fake.idle().await);
                files.append(&mut asked.fds);
                fake.reply(&asked, json!({})).await?;
            }
            files[1].write_all(b"hello")
        }
    );
    served.expect("served");
    first.expect("a reply");
    second.expect("a reply");
    let mut text = String::new();
    ours.read_to_string(&mut text)
        .expect("all writers are closed");
    assert_eq!(text, "hello");
    let many = (0..17)
        .map(|_| File::open("/dev/null").expect("open").into())
        .collect();
    let error = session
        .execute_with_fds(getfd("c"), many, LONG)
        .await
        .expect_err("too many");
    assert!(matches!(error, ExecuteError::TooManyFds { count: 17, .. }));
}

#[tokio::test]
async fn a_call_given_up_before_it_was_sent_never_is() {
    let (session, mut fake) = pair().await;
    let window: Vec<_> = (0..7).map(|_| call(&session, "query-name")).collect();
    let mut asked = Vec::new();
    for _ in 0..7 {
        asked.push(fake.expect("query-name").await.expect("a call"));
    }
    let error = session
        .execute_raw("system_reset", NULL, Duration::from_millis(1))
        .await
        .expect_err("no room");
    assert!(matches!(error, ExecuteError::Timeout { .. }));
    for asked in &asked {
        fake.reply(asked, json!({})).await.expect("sent");
    }
    for answer in window {
        answer.await.expect("no panic").expect("a reply");
    }
    let (answer, served) = tokio::join!(session.execute_raw("quit", NULL, LONG), async {
        let asked = fake.expect("quit").await?;
        fake.reply(&asked, json!({})).await
    });
    served.expect("quit came next");
    answer.expect("a reply");
}

#[test]
fn the_runtime_may_be_of_either_kind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (done, waiting) = oneshot::channel();
    runtime.block_on(async move {
        let (session, fake) = pair().await;
        drop(fake);
        done.send(session.closed().await).expect("somebody waits");
    });
    assert_eq!(waiting.blocking_recv(), Ok(CloseReason::Eof { partial: 0 }));
}

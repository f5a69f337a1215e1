//! A guest that answers late, twice, too much, or nonsense.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const NULL: Value = Value::Null;

/// The guest's side, which may misbehave.
struct Guest {
    stream: UnixStream,
    lines: Lines,
    rest: Vec<u8>,
}

fn pair() -> (Agent, Guest) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let guest = Guest {
        stream: theirs,
        lines: Lines::new(1 << 16),
        rest: Vec::new(),
    };
    (Agent::start(ours), guest)
}

impl Guest {
    async fn request(&mut self) -> Value {
        loop {
            let mut chunk = self.rest.as_slice();
            let line = self.lines.feed(&mut chunk);
            let used = self.rest.len() - chunk.len();
            self.rest.drain(..used);
            if let Some(Line::Whole(line)) = line {
                let text: Vec<u8> = line.into_iter().filter(|byte| *byte != DELIMITER).collect();
                return serde_json::from_slice(&text).expect("a request");
            }
            let count = self
                .stream
                .read_buf(&mut self.rest)
                .await
                .expect("readable");
            assert!(count > 0, "closed");
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// Answers the next request, which must be a sync.
    async fn sync(&mut self) {
        let request = self.request().await;
        assert_eq!(request["execute"], "guest-sync-delimited");
        let reply = json!({"return": request["arguments"]["id"]});
        self.say(&[&[DELIMITER], reply.to_string().as_bytes(), b"\n"].concat())
            .await;
    }
}

#[tokio::test]
async fn one_sync_then_commands() {
    let (agent, mut guest) = pair();
    let ask = async {
        for _ in 0..2 {
            agent
                .execute(crate::qga::guest_ping {}, LONG)
                .await
                .expect("a pong");
        }
        agent
            .execute_raw("guest-nope", NULL, LONG)
            .await
            .expect_err("refused")
    };
    let serve = async {
        guest.sync().await;
        for _ in 0..2 {
            assert_eq!(guest.request().await["execute"], "guest-ping");
            guest.say(b"{\"return\": {}}\n").await;
        }
        guest.request().await;
        guest
            .say(b"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}\n")
            .await;
    };
    let (error, ()) = tokio::join!(ask, serve);
    assert!(matches!(
        error,
        AgentError::Refused {
            class: ErrorClass::CommandNotFound,
            ..
        }
    ));
}

#[tokio::test]
async fn the_late_reply_of_a_cancelled_call_is_not_taken_for_the_next() {
    let (agent, mut guest) = pair();
    // What a timeout does to the call, without the clock.
    tokio::select! {
        _ = agent.execute_raw("guest-get-time", NULL, LONG) => panic!("nobody answered"),
        () = async { guest.sync().await; guest.request().await; } => {}
    }
    let (answer, ()) = tokio::join!(agent.execute_raw("guest-get-time", NULL, LONG), async {
        guest.say(b"{\"return\": \"old\"}\n").await;
        guest.sync().await;
        guest.request().await;
        guest.say(b"{\"return\": \"new\"}\n").await;
    });
    assert_eq!(answer.expect("a reply"), "new");
}

#[tokio::test]
async fn an_answer_to_a_former_sync_is_passed_over() {
    let (agent, mut guest) = pair();
    let error = agent
        .execute_raw("guest-ping", NULL, Duration::from_millis(1))
        .await
        .expect_err("nobody there");
    assert!(matches!(error, AgentError::Timeout { .. }));
    let former = guest.request().await;
    let (answer, ()) = tokio::join!(agent.execute_raw("guest-ping", NULL, LONG), async {
        let reply = json!({"return": former["arguments"]["id"]}).to_string();
        guest
            .say(&[b"junk\xff", reply.as_bytes(), b"\n"].concat())
            .await;
        guest.sync().await;
        guest.request().await;
        guest.say(b"{\"return\": {}}\n").await;
    });
    answer.expect("a reply");
}

#[tokio::test]
async fn nonsense_is_an_error_and_the_next_call_works() {
    let (agent, mut guest) = pair();
    for nonsense in [
        "[]\n",
        "\"\u{0}\"\n",
        "{\"return\n",
        "{\"error\": 3}\n",
        "{}\n",
    ] {
        let (answer, ()) = tokio::join!(agent.execute_raw("guest-ping", NULL, LONG), async {
            guest.sync().await;
            guest.request().await;
            guest.say(nonsense.as_bytes()).await;
        });
        assert!(
            matches!(answer, Err(AgentError::NoReply { .. })),
            "{nonsense:?}"
        );
    }
    // A good reply and a second one that nobody asked for.
    for extra in [true, false] {
        let (answer, ()) = tokio::join!(agent.execute_raw("guest-ping", NULL, LONG), async {
            guest.sync().await;
            guest.request().await;
            let replies: &[u8] = if extra {
                b"{\"return\": 1}\n{\"return\": 2}\n"
            } else {
                b"{\"return\": 1}\n"
            };
            guest.say(replies).await;
        });
        assert_eq!(answer.expect("a reply"), 1);
    }
    let (answer, ()) = tokio::join!(agent.execute(crate::qga::guest_info {}, LONG), async {
        guest.request().await;
        guest.say(b"{\"return\": {\"version\": 3}}\n").await;
    });
    assert!(matches!(answer, Err(AgentError::Decode { .. })));
}

#[tokio::test]
async fn endless_bytes_are_cut_off() {
    let (agent, mut guest) = pair();
    let flood = async {
        guest.sync().await;
        guest.request().await;
        while guest.stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    };
    tokio::select! {
        answer = agent.execute_raw("guest-ping", NULL, LONG) => {
            assert!(matches!(answer, Err(AgentError::TooLarge { .. })));
        }
        () = flood => panic!("the flood does not end"),
    }
    // And so are those that come instead of a sync's answer.
    let flood = async { while guest.stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {} };
    tokio::select! {
        answer = agent.execute_raw("guest-ping", NULL, LONG) => {
            assert!(matches!(answer, Err(AgentError::TooLarge { .. })));
        }
        () = flood => panic!("the flood does not end"),
    }
}

#[tokio::test]
async fn eof_is_an_error() {
    let (agent, guest) = pair();
    drop(guest);
    let error = agent
        .execute_raw("guest-ping", NULL, LONG)
        .await
        .expect_err("closed");
    assert!(matches!(error, AgentError::Io { .. }));
}

#[tokio::test]
async fn a_command_without_reply_leaves_the_channel_to_be_synced() {
    let (agent, mut guest) = pair();
    let shutdown = crate::qga::guest_shutdown {
        mode: Some(crate::qga::GuestShutdownMode::Powerdown),
    };
    let (sent, ()) = tokio::join!(agent.send(shutdown, LONG), async {
        guest.sync().await;
        assert_eq!(guest.request().await["arguments"]["mode"], "powerdown");
    });
    sent.expect("sent");
    let (answer, ()) = tokio::join!(agent.execute_raw("guest-ping", NULL, LONG), async {
        guest.sync().await;
        guest.request().await;
        guest.say(b"{\"return\": {}}\n").await;
    });
    answer.expect("a reply");
}

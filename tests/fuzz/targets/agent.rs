//! What a guest sends in its agent's place: bytes ahead of the answer to `guest-sync-delimited`, and after a 0x1e (no text
//! has one) what follows it as replies. No call outlives the connection.

#![no_main]

use std::time::Duration;

use launcher_fuzz::block_on;
use libfuzzer_sys::fuzz_target;
use qmp::qga::{guest_fsfreeze_status, guest_get_fsinfo, guest_get_osinfo};
use qmp::{Agent, AgentError};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

const LONG: Duration = Duration::from_secs(10);

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|byte| *byte == 0x1e);
    let (ahead, replies) = match split {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&[][..], bytes),
    };
    block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let agent = Agent::start(ours);
        let guest = async {
            let (reader, mut writer) = theirs.into_split();
            let _asked = writer.write_all(ahead).await;
            let mut reader = BufReader::new(reader);
            let mut sync = Vec::new();
            reader.read_until(b'\n', &mut sync).await.expect("it asks");
            let sync: Value = serde_json::from_slice(&sync[1..]).expect("a request");
            let number = &sync["arguments"]["id"];
            let reply = format!("\u{0}{{\"return\": {number}}}\n").into_bytes();
            let _told = writer.write_all(&[&[0xff], &reply[1..]].concat()).await;
            let _told = writer.write_all(replies).await;
        };
        let calls = async {
            let raw = agent.execute_raw("guest-info", Value::Null, LONG).await;
            let mut ends = vec![raw.err()];
            ends.push(agent.execute(guest_get_osinfo {}, LONG).await.err());
            ends.push(agent.execute(guest_get_fsinfo {}, LONG).await.err());
            ends.push(agent.execute(guest_fsfreeze_status {}, LONG).await.err());
            ends
        };
        let (ends, ()) = tokio::join!(calls, guest);
        for end in ends.into_iter().flatten() {
            assert!(!matches!(end, AgentError::Timeout { .. }), "{end}");
            let _for_people = end.to_string();
        }
    });
});

//! What QEMU's monitor sends, before its greeting (first byte odd) or after the negotiation: the session ends with the
//! connection, whatever came, and whoever waits for a reply is told.

#![no_main]

use std::time::Duration;

use launcher_fuzz::block_on;
use libfuzzer_sys::fuzz_target;
use qmp::{Options, Session, fake::Fake};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(10);

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    block_on(async {
        let (mut fake, stream) = Fake::pair().expect("a socket pair");
        let options = Options {
            limit: 512,
            ..Options::default()
        };
        if first % 2 == 1 {
            let server = async {
                let _ended = fake.raw(bytes).await;
                drop(fake);
            };
            let (session, ()) = tokio::join!(Session::start(stream, options), server);
            return drop(session);
        }
        let (session, negotiated) =
            tokio::join!(Session::start(stream, options), fake.negotiate(true));
        negotiated.expect("negotiated");
        let session = session.expect("a session");
        let mut events = session.events();
        let server = async {
            let _command = fake.expect("query-status").await.expect("it was sent");
            let _ended = fake.raw(bytes).await;
            drop(fake);
        };
        let (answer, ()) = tokio::join!(
            session.execute_raw("query-status", Value::Null, LONG),
            server
        );
        assert!(!matches!(answer, Err(qmp::ExecuteError::Timeout { .. })));
        while events.next().await.is_some() {}
        let _why = session.closed().await;
    });
});

//! What a client of the control socket sends: answered or cut off, and the next client is served as if nothing had been.

#![no_main]

use std::sync::Arc;

use launcher::control::{Answering, Own, Policy, serve};
use launcher_fuzz::block_on;
use libfuzzer_sys::fuzz_target;
use qmp::{Options, Session, fake::Fake};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// Stands for the supervisor's own half.
#[derive(Debug)]
struct Nobody(watch::Sender<Arc<Value>>);

impl Own for Nobody {
    fn run(self: Arc<Self>, name: String, arguments: Value) -> Answering {
        Box::pin(async move { Ok(json!([name, arguments])) })
    }

    fn watch(&self) -> watch::Receiver<Arc<Value>> {
        self.0.subscribe()
    }
}

/// Says all of it, then hears all that comes back.
async fn client(address: &std::os::unix::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let stream = std::os::unix::net::UnixStream::connect_addr(address).expect("it listens");
    stream.set_nonblocking(true).expect("it is a socket");
    let mut stream = UnixStream::from_std(stream).expect("registered");
    let _cut_off = stream.write_all(bytes).await;
    let _cut_off = stream.shutdown().await;
    let mut heard = Vec::new();
    let _cut_off = stream.read_to_end(&mut heard).await;
    heard
}

fuzz_target!(|bytes: &[u8]| {
    block_on(async {
        let (mut fake, stream) = Fake::pair().expect("a socket pair");
        let (session, negotiated) = tokio::join!(
            Session::start(stream, Options::default()),
            fake.negotiate(true)
        );
        negotiated.expect("negotiated");
        let listener = launcher_fuzz::listen();
        let address = listener.local_addr().expect("it is bound");
        let policy = Policy {
            message: 512,
            ..Policy::for_uid(nix::unistd::geteuid().as_raw())
        };
        let qemu = tokio::spawn(async move { fake.serve(|_| Ok(json!({}))).await });
        let served = tokio::spawn(serve(
            UnixListener::from_std(listener).expect("registered"),
            session.expect("a session"),
            Arc::new(Nobody(watch::Sender::new(Arc::default()))),
            policy,
        ));
        let heard = client(&address, bytes).await;
        assert!(heard.starts_with(b"{\"QMP\":"), "no greeting");
        let next = b"{\"execute\": \"qmp_capabilities\", \"id\": 1}\n{\"execute\": \"query-status\", \"id\": 2}\n";
        let heard = client(&address, next).await;
        assert!(heard.ends_with(b"{\"return\": {}, \"id\": 2}\r\n"), "not served");
        assert!(!served.is_finished() && !qemu.is_finished());
        served.abort();
        qemu.abort();
    });
});

//! Servers that run beside the test, and what they report.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use anyhow::{Result, bail};
use launcher::net::service::ServiceError;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::rig::PATIENCE;

/// What a client told its script, or the server its log.
pub(crate) type Lines<T> = Receiver<T>;

/// Runs a server for as long as the test lasts, and hands back what it reports.
pub(crate) fn run(server: impl Future<Output = ServiceError> + Send + 'static) -> Lines<Value> {
    let (sender, events) = mpsc::channel();
    std::thread::spawn(move || {
        logged(sender, async {
            panic!("the server ended: {}", server.await)
        });
    });
    events
}

/// As [`run`], until what is returned second is dropped; its socket is closed then.
pub(crate) fn run_a_while(
    server: impl Future<Output = ServiceError> + Send + 'static,
) -> (Lines<Value>, Serving) {
    let (sender, events) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        logged(sender, async {
            tokio::select! {
                error = server => panic!("the server ended: {error}"),
                _ = stopped => {}
            }
        });
    });
    let serving = Serving {
        stop: Some(stop),
        thread: Some(thread),
    };
    (events, serving)
}

/// A server that stops when this is dropped.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's thread");
        }
    }
}

/// Runs a server with its log going to `sender`.
fn logged(sender: Sender<Value>, server: impl Future<Output = ()>) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(move || Channel(sender.clone()))
        .finish();
    let _log = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(server);
}

/// The server's next event of this name.
pub(crate) fn event(events: &Lines<Value>, name: &str) -> Result<Value> {
    let mut seen = Vec::new();
    while let Ok(event) = events.recv_timeout(PATIENCE) {
        if event["fields"]["event"] == name {
            return Ok(event["fields"].clone());
        }
        seen.push(event["fields"].to_string());
    }
    bail!("the server reported no `{name}`, only {seen:?}")
}

/// Hands on each JSON line of the log.
struct Channel(Sender<Value>);

impl Write for Channel {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Nobody may listen any more: a test ends before its server.
        let _ = self.0.send(serde_json::from_slice(line)?);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

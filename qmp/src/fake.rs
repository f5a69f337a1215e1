//! A scripted QMP server for tests: one side of a socket, moved step by step.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(async {
//! use std::time::Duration;
//! use qmp::{Options, Session, fake::Fake};
//!
//! let (mut fake, stream) = Fake::pair().expect("a socket pair");
//! let (session, negotiated) = tokio::join!(Session::start(stream, Options::default()), fake.negotiate(true));
//! let (session, _) = (session.expect("a session"), negotiated.expect("negotiated"));
//! let answer = session.execute_raw("query-name", serde_json::Value::Null, Duration::from_secs(5));
//! let server = async {
//!     let call = fake.expect("query-name").await?;
//!     fake.reply(&call, serde_json::json!({"name": "vm"})).await
//! };
//! let (answer, served) = tokio::join!(answer, server);
//! served.expect("served");
//! assert_eq!(answer.expect("a reply")["name"], "vm");
//! # });
//! ```

use std::io;

use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

pub use crate::server::Call;
use crate::{
    ErrorClass, Event, Version,
    server::{Connection, Received},
};

/// The server's side of one connection.
#[derive(Debug)]
pub struct Fake {
    connection: Connection,
}

impl Fake {
    /// A server and the socket that its client uses.
    pub fn pair() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::new(ours), theirs))
    }

    /// A server over an accepted connection.
    pub fn new(stream: UnixStream) -> Self {
        let connection = Connection::new(stream, 64 << 20).taking_fds();
        Self { connection }
    }

    /// Sends the greeting of a QEMU 10.0.2.
    pub async fn greet(&mut self, oob: bool) -> io::Result<()> {
        let version = Version {
            major: 10,
            minor: 0,
            micro: 2,
            package: "fake".to_owned(),
        };
        let capabilities: &[&str] = if oob { &["oob"] } else { &[] };
        self.connection.greet(&version, capabilities).await
    }

    /// Greets and answers `qmp_capabilities`, which it returns.
    pub async fn negotiate(&mut self, oob: bool) -> io::Result<Call> {
        self.greet(oob).await?;
        let call = self.expect("qmp_capabilities").await?;
        self.reply(&call, json!({})).await?;
        Ok(call)
    }

    /// The next command. `Ok(None)`: the client closed.
    pub async fn next(&mut self) -> io::Result<Option<Call>> {
        match self.connection.next().await? {
            Received::Call(call) => Ok(Some(call)),
            Received::Malformed { desc, .. } => Err(io::Error::other(desc)),
            Received::Closed => Ok(None),
        }
    }

    /// Whether the client, given every chance to run, has sent nothing further. For a current-thread runtime.
    pub async fn idle(&mut self) -> bool {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        self.connection.is_idle()
    }

    /// The next command, which must be `name`.
    pub async fn expect(&mut self, name: &str) -> io::Result<Call> {
        match self.next().await? {
            Some(call) if call.name == name => Ok(call),
            Some(call) => Err(io::Error::other(format!(
                "expected `{name}`, got `{}`",
                call.name
            ))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Answers every command by `answer` until the client closes. An error is `(class, desc)`.
    pub async fn serve<F>(&mut self, mut answer: F) -> io::Result<()>
    where
        F: FnMut(&Call) -> Result<Value, (String, String)>,
    {
        while let Some(call) = self.next().await? {
            match answer(&call) {
                Ok(value) => self.reply(&call, value).await?,
                Err((class, desc)) => self.fail(&call, &class, &desc).await?,
            }
        }
        Ok(())
    }

    /// Answers `call` with success.
    pub async fn reply(&mut self, call: &Call, value: Value) -> io::Result<()> {
        self.connection.reply(&call.id, &value).await
    }

    /// Answers `call` with an error.
    pub async fn fail(&mut self, call: &Call, class: &str, desc: &str) -> io::Result<()> {
        let class = ErrorClass::from(class);
        self.connection.fail(&call.id, &class, desc).await
    }

    /// Sends an event. Null data: none.
    pub async fn event(&mut self, name: &str, data: Value) -> io::Result<()> {
        let mut object = Map::new();
        object.insert("event".to_owned(), name.into());
        object.insert("data".to_owned(), data);
        let stamp = json!({"seconds": 1, "microseconds": 2});
        object.insert("timestamp".to_owned(), stamp);
        match Event::from_object(object) {
            Some(event) => self.connection.event(&event).await,
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Sends these bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.raw(bytes).await
    }
}

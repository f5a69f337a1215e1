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

use std::{fs::File, io, os::fd::AsRawFd};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::{Line, Lines};

/// The server's side of one connection.
#[derive(Debug)]
pub struct Fake {
    stream: UnixStream,
    lines: Lines,
    rest: Vec<u8>,
    fds: Vec<File>,
}

/// A command that the client sent.
#[derive(Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Whether it came by `exec-oob`.
    pub oob: bool,
    /// Its arguments; null if it had none.
    pub arguments: Value,
    /// Its id; null if it had none.
    pub id: Value,
    /// Descriptors that came with it (or just before it).
    pub fds: Vec<File>,
}

impl Fake {
    /// A server and the socket that its client uses.
    pub fn pair() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::new(ours), theirs))
    }

    /// A server over an accepted connection.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            lines: Lines::new(64 << 20),
            rest: Vec::new(),
            fds: Vec::new(),
        }
    }

    /// Sends the greeting of a QEMU 10.0.2.
    pub async fn greet(&mut self, oob: bool) -> io::Result<()> {
        let capabilities = if oob { json!(["oob"]) } else { json!([]) };
        self.line(&json!({"QMP": {
            "version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "fake"},
            "capabilities": capabilities,
        }}))
        .await
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
        loop {
            let mut chunk = self.rest.as_slice();
            let line = self.lines.feed(&mut chunk);
            let used = self.rest.len() - chunk.len();
            self.rest.drain(..used);
            match line {
                Some(Line::Whole(line)) => return Ok(Some(self.call(&line)?)),
                Some(Line::TooLong { .. }) => return Err(io::ErrorKind::FileTooLarge.into()),
                None if !self.fill().await? => return Ok(None),
                None => {}
            }
        }
    }

    /// Whether the client, given every chance to run, has sent nothing further. For a current-thread runtime.
    pub async fn idle(&mut self) -> bool {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let mut byte = [0; 1];
        self.rest.is_empty()
            && matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
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
        // QEMU writes the id last.
        let id = if call.id.is_null() {
            String::new()
        } else {
            format!(", \"id\": {}", call.id)
        };
        self.raw(format!("{{\"return\": {value}{id}}}\r\n").as_bytes())
            .await
    }

    /// Answers `call` with an error.
    pub async fn fail(&mut self, call: &Call, class: &str, desc: &str) -> io::Result<()> {
        self.line(&json!({"id": call.id, "error": {"class": class, "desc": desc}}))
            .await
    }

    /// Sends an event. Null data: none.
    pub async fn event(&mut self, name: &str, data: Value) -> io::Result<()> {
        let mut event = json!({"event": name, "timestamp": {"seconds": 1, "microseconds": 2}});
        if !data.is_null() {
            event["data"] = data;
        }
        self.line(&event).await
    }

    /// Sends these bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn line(&mut self, value: &Value) -> io::Result<()> {
        self.raw(format!("{value}\r\n").as_bytes()).await
    }

    async fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let (count, fd) = self
            .stream
            .async_io(Interest::READABLE, || {
                Fd(self.stream.as_raw_fd())
                    .recv_with_fd(&mut buffer)
                    .map_err(io::Error::from)
            })
            .await?;
        self.fds.extend(fd);
        self.rest.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    fn call(&mut self, line: &[u8]) -> io::Result<Call> {
        let mut value: Value = serde_json::from_slice(line)?;
        let oob = value.get("exec-oob").is_some();
        let name = &value[if oob { "exec-oob" } else { "execute" }];
        let name = name.as_str().ok_or(io::ErrorKind::InvalidData)?.to_owned();
        Ok(Call {
            name,
            oob,
            arguments: value["arguments"].take(),
            id: value["id"].take(),
            fds: std::mem::take(&mut self.fds),
        })
    }
}

struct Fd(std::os::fd::RawFd);

impl ScmSocket for Fd {
    fn socket_fd(&self) -> std::os::fd::RawFd {
        self.0
    }
}

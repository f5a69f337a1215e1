//! The server's side of a QMP connection: requests in, greeting, replies and events out.

use std::{fs::File, io, os::fd::AsRawFd};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::{ErrorClass, Event, Line, Lines, Version};

/// One client's connection. Reading is safe to cancel; a write that is cancelled must be the last.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    lines: Lines,
    rest: Vec<u8>,
    fds: Option<Vec<File>>,
}

/// A command that a client sent.
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
    /// Descriptors that came with it (or just before it), where they are taken.
    pub fds: Vec<File>,
}

/// What a client did.
#[derive(Debug)]
pub enum Received {
    /// It sent a command.
    Call(Call),
    /// It sent a line that is no command.
    Malformed {
        /// The id, where there was one.
        id: Value,
        /// What is wrong with it.
        desc: &'static str,
    },
    /// It closed its side.
    Closed,
}

impl Connection {
    /// A connection whose messages are at most `limit` bytes. Descriptors that come along are not taken.
    pub fn new(stream: UnixStream, limit: usize) -> Self {
        Self {
            stream,
            lines: Lines::new(limit),
            rest: Vec::new(),
            fds: None,
        }
    }

    /// Takes file descriptors too, one with each message.
    pub fn taking_fds(mut self) -> Self {
        self.fds = Some(Vec::new());
        self
    }

    /// What the client does next.
    pub async fn next(&mut self) -> io::Result<Received> {
        loop {
            let mut chunk = self.rest.as_slice();
            let line = self.lines.feed(&mut chunk);
            let used = self.rest.len() - chunk.len();
            self.rest.drain(..used);
            match line {
                Some(Line::Whole(line)) => return Ok(self.parse(&line)),
                Some(Line::TooLong { .. }) => {
                    return Ok(malformed(Value::Null, "message over the size limit"));
                }
                None if !self.fill().await? => return Ok(Received::Closed),
                None => {}
            }
        }
    }

    /// Whether the client has sent nothing that was not taken yet.
    pub(crate) fn is_idle(&self) -> bool {
        let mut byte = [0; 1];
        let read = self.stream.try_read(&mut byte);
        self.rest.is_empty()
            && matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends the greeting.
    pub async fn greet(&mut self, version: &Version, capabilities: &[&str]) -> io::Result<()> {
        let Version {
            major,
            minor,
            micro,
            package,
        } = version;
        self.line(&json!({"QMP": {
            "version": {"qemu": {"micro": micro, "minor": minor, "major": major}, "package": package},
            "capabilities": capabilities,
        }}))
        .await
    }

    /// Answers the call with this id with success. A null id is left out.
    pub async fn reply(&mut self, id: &Value, value: &Value) -> io::Result<()> {
        // QEMU writes the id last.
        let id = match id {
            Value::Null => String::new(),
            id => format!(", \"id\": {id}"),
        };
        self.raw(format!("{{\"return\": {value}{id}}}\r\n").as_bytes())
            .await
    }

    /// Answers the call with this id with an error.
    pub async fn fail(&mut self, id: &Value, class: &ErrorClass, desc: &str) -> io::Result<()> {
        let mut reply = json!({"error": {"class": class.as_str(), "desc": desc}});
        if !id.is_null() {
            reply["id"] = id.clone();
        }
        self.line(&reply).await
    }

    /// Sends an event.
    pub async fn event(&mut self, event: &Event) -> io::Result<()> {
        self.line(&event.to_json()).await
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
        let stream = &self.stream;
        let count = match &mut self.fds {
            // Without a buffer for them the kernel drops what descriptors come.
            None => {
                let read = || stream.try_read(&mut buffer);
                ready(stream, read).await?
            }
            Some(fds) => {
                let receive = || {
                    stream.try_io(Interest::READABLE, || {
                        Fd(stream.as_raw_fd())
                            .recv_with_fd(&mut buffer)
                            .map_err(io::Error::from)
                    })
                };
                let (count, fd) = ready(stream, receive).await?;
                fds.extend(fd);
                count
            }
        };
        self.rest.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    fn parse(&mut self, line: &[u8]) -> Received {
        let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else {
            return malformed(Value::Null, "QMP input must be a JSON object");
        };
        let id = object.remove("id").unwrap_or(Value::Null);
        let (name, oob) = match (object.remove("execute"), object.remove("exec-oob")) {
            (Some(Value::String(name)), None) => (name, false),
            (None, Some(Value::String(name))) => (name, true),
            _ => return malformed(id, "QMP input needs one string member 'execute'"),
        };
        let arguments = object.remove("arguments").unwrap_or(Value::Null);
        if !(arguments.is_null() || arguments.is_object()) {
            return malformed(id, "QMP input member 'arguments' must be an object");
        }
        if !object.is_empty() {
            return malformed(id, "QMP input has a member that is not known");
        }
        let fds = self.fds.as_mut().map(std::mem::take).unwrap_or_default();
        Received::Call(Call {
            name,
            oob,
            arguments,
            id,
            fds,
        })
    }
}

fn malformed(id: Value, desc: &'static str) -> Received {
    Received::Malformed { id, desc }
}

/// Tries to read whenever the socket can be read.
async fn ready<T>(stream: &UnixStream, mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        stream.readable().await?;
        match read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

struct Fd(std::os::fd::RawFd);

impl ScmSocket for Fd {
    fn socket_fd(&self) -> std::os::fd::RawFd {
        self.0
    }
}

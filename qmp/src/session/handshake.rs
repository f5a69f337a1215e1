//! From a connected socket to command mode.

use std::{io, sync::atomic::Ordering};

use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{Counters, Options};
use crate::{
    CloseReason, ConnectError, Line, Lines, Version,
    message::{self, Message},
    queue::Hub,
};

/// What negotiation leaves behind.
pub(super) struct Ready {
    pub(super) version: Version,
    /// Offered and wanted.
    pub(super) enabled: Vec<String>,
    pub(super) lines: Lines,
    /// Bytes read and not yet looked at.
    pub(super) rest: Vec<u8>,
}

/// Waits for the greeting, answers it, and waits for the reply. Late replies and events may come before
/// either; events are published, so whoever takes the critical queue later has them.
pub(super) async fn negotiate(
    stream: &UnixStream,
    options: &Options,
    hub: &Hub,
    counters: &Counters,
) -> Result<Ready, ConnectError> {
    let mut reader = Reader {
        stream,
        lines: Lines::new(options.limit),
        rest: Vec::new(),
    };
    let (version, offered) = loop {
        match reader.message(counters).await? {
            Message::Greeting {
                version,
                capabilities,
            } => break (version, capabilities),
            Message::Event(event) => hub.publish(event),
            Message::Reply { id, .. } => drop_reply(&id, counters),
        }
    };
    let wanted = |name: &String| options.enable.contains(name) || (options.oob && name == "oob");
    let enabled: Vec<String> = offered.into_iter().filter(wanted).collect();
    let arguments = if enabled.is_empty() {
        json!({})
    } else {
        json!({ "enable": enabled })
    };
    let id = format!("{}-0", options.generation);
    let line = message::request("execute", "qmp_capabilities", &arguments, Some(&id))
        .map_err(|error| ConnectError::Io(io::Error::other(error)))?;
    write_all(stream, &line).await.map_err(ConnectError::Io)?;
    loop {
        match reader.message(counters).await? {
            Message::Reply { id: theirs, result } if theirs == id.as_str() => {
                result.map_err(|refused| ConnectError::Capabilities { refused })?;
                let Reader { lines, rest, .. } = reader;
                return Ok(Ready {
                    version,
                    enabled,
                    lines,
                    rest,
                });
            }
            Message::Event(event) => hub.publish(event),
            Message::Reply { id, .. } => drop_reply(&id, counters),
            Message::Greeting { .. } => {}
        }
    }
}

fn drop_reply(id: &Value, counters: &Counters) {
    counters.unknown_ids.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(event = "reply-early", %id, "dropped a reply that came during negotiation");
}

struct Reader<'a> {
    stream: &'a UnixStream,
    lines: Lines,
    rest: Vec<u8>,
}

impl Reader<'_> {
    async fn message(&mut self, counters: &Counters) -> Result<Message, ConnectError> {
        loop {
            let mut chunk = self.rest.as_slice();
            let line = self.lines.feed(&mut chunk);
            let left = chunk.len();
            self.rest.drain(..self.rest.len() - left);
            match line {
                Some(Line::Whole(line)) => match message::parse(&line) {
                    Some(message) => return Ok(message),
                    None => counters.garbage.fetch_add(1, Ordering::Relaxed),
                },
                Some(Line::TooLong { .. }) => counters.overlong.fetch_add(1, Ordering::Relaxed),
                None => {
                    self.fill().await?;
                    0
                }
            };
        }
    }

    async fn fill(&mut self) -> Result<(), ConnectError> {
        loop {
            self.stream.readable().await.map_err(ConnectError::Io)?;
            let mut buffer = [0; 4096];
            match self.stream.try_read(&mut buffer) {
                Ok(0) => {
                    let reason = CloseReason::Eof {
                        partial: self.lines.partial(),
                    };
                    return Err(ConnectError::Closed { reason });
                }
                Ok(count) => {
                    self.rest.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(ConnectError::Io(error)),
            }
        }
    }
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

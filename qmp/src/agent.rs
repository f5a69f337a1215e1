//! The guest agent's channel: one request at a time, resynchronised whenever it may be out of step.
//!
//! The agent knows no ids, and whoever speaks at the other end is the guest, which is hostile: every read
//! is bounded in bytes and time, and nothing it sends is believed before `guest-sync-delimited` came back
//! with the number that we chose (QEMU `docs/interop/qemu-ga.rst`, `qga/qapi-schema.json`).

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use qapi::Command;
use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    sync::Mutex,
    time::{Instant, timeout_at},
};

use crate::{ErrorClass, Line, Lines, message};

/// Ends a flush on either side (`guest-sync-delimited`).
const DELIMITER: u8 = 0xff;

/// The longest reply taken: what `guest-file-read` may fill in one call, with room for base64.
const LIMIT: usize = 4 << 20;

/// Bytes of older replies that are thrown away in search of the delimiter.
const FLUSH: u64 = 16 << 20;

/// A guest-agent session. Clones share the channel and wait for each other.
#[derive(Debug, Clone)]
pub struct Agent {
    channel: Arc<Mutex<Channel>>,
    counter: Arc<AtomicU64>,
}

/// A call to the guest agent that brought no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The socket is not there, or nobody listens.
    #[error("cannot connect to the guest agent's socket `{path}`")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No answer in time: no agent runs, or it hangs. It may still carry the command out.
    #[error("the guest agent did not answer `{command}` within {deadline:?}")]
    Timeout {
        /// The command.
        command: String,
        /// The time it had.
        deadline: Duration,
    },
    /// The agent understood and refused.
    #[error("the guest agent refused `{command}`: {desc} ({class})")]
    Refused {
        /// The command.
        command: String,
        /// The class.
        class: ErrorClass,
        /// The guest's words: not to be trusted, nor printed unescaped.
        desc: String,
    },
    /// What came is no reply of the wanted type.
    #[error("the guest agent's reply to `{command}` is not what its type says")]
    Decode {
        /// The command.
        command: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// What came is no reply at all.
    #[error("the guest agent answered `{command}` with something else than a reply")]
    NoReply {
        /// The command.
        command: String,
    },
    /// More bytes than we take.
    #[error(
        "the guest agent sent {bytes} bytes in answer to `{command}`, over the limit of {limit}"
    )]
    TooLarge {
        /// The command.
        command: String,
        /// What came.
        bytes: u64,
        /// What we take.
        limit: u64,
    },
    /// The arguments are no JSON object.
    #[error("the arguments of `{command}` cannot be written as JSON")]
    Encode {
        /// The command.
        command: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// The socket failed or ended.
    #[error("the guest agent's channel failed at `{command}`")]
    Io {
        /// The command.
        command: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Why an exchange stopped, before it has the command's name.
enum Fault {
    Io(io::Error),
    TooLarge { bytes: u64, limit: u64 },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Agent {
    /// Connects to the chardev socket of the agent's virtio-serial port. That works whether an agent runs or
    /// not: only a command tells.
    pub async fn connect(path: &Path) -> Result<Self, AgentError> {
        let stream = crate::session::connect(path)
            .await
            .map_err(|source| AgentError::Connect {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self::start(stream))
    }

    /// A session over a connected socket.
    pub fn start(stream: UnixStream) -> Self {
        // A former session's answers may still lie in the channel: begin where it cannot have counted.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let begin =
            (since.as_secs() << 20 | u64::from(since.subsec_micros())) & (i64::MAX as u64 >> 1);
        Self {
            channel: Arc::new(Mutex::new(Channel {
                stream,
                rest: Vec::new(),
                in_step: false,
            })),
            counter: Arc::new(AtomicU64::new(begin)),
        }
    }

    /// Runs one typed command.
    pub async fn execute<C: Command>(
        &self,
        command: C,
        deadline: Duration,
    ) -> Result<C::Ok, AgentError> {
        let value = self.run(C::NAME, &command, deadline).await?;
        serde_json::from_value(value).map_err(|source| AgentError::Decode {
            command: C::NAME.to_owned(),
            source,
        })
    }

    /// Runs a command by name. `arguments` is an object or null.
    pub async fn execute_raw(
        &self,
        name: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, AgentError> {
        self.run(name, &arguments, deadline).await
    }

    /// Sends a command that answers nothing when it works (`guest-shutdown`, `guest-suspend-*`) and does not
    /// wait. The agent is known to have been there just before.
    pub async fn send<C: Command>(&self, command: C, deadline: Duration) -> Result<(), AgentError> {
        let line = encode(C::NAME, &command)?;
        let exchange = async {
            let mut channel = self.channel.lock().await;
            channel.ensure_in_step(&self.counter).await?;
            channel.in_step = false;
            channel.write(&line).await
        };
        self.within(C::NAME, deadline, exchange).await
    }

    async fn run<A: serde::Serialize>(
        &self,
        name: &str,
        arguments: &A,
        deadline: Duration,
    ) -> Result<Value, AgentError> {
        let line = encode(name, arguments)?;
        let exchange = async {
            let mut channel = self.channel.lock().await;
            channel.ensure_in_step(&self.counter).await?;
            // Until the reply is whole the channel counts as out of step: a cancelled call leaves it so.
            channel.in_step = false;
            channel.write(&line).await?;
            let reply = channel.read_line(LIMIT).await?;
            channel.in_step = true;
            Ok(reply)
        };
        let reply = self.within(name, deadline, exchange).await?;
        let object = match serde_json::from_slice::<Value>(&reply) {
            Ok(Value::Object(object)) => object,
            _ => {
                self.channel.lock().await.in_step = false;
                return Err(AgentError::NoReply {
                    command: name.to_owned(),
                });
            }
        };
        if let Some(value) = object.get("return") {
            return Ok(value.clone());
        }
        let Some(Value::Object(error)) = object.get("error") else {
            self.channel.lock().await.in_step = false;
            return Err(AgentError::NoReply {
                command: name.to_owned(),
            });
        };
        let refused = message::read_error(error);
        Err(AgentError::Refused {
            command: name.to_owned(),
            class: refused.class,
            desc: refused.desc,
        })
    }

    async fn within<T>(
        &self,
        command: &str,
        deadline: Duration,
        exchange: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, AgentError> {
        let command = command.to_owned();
        match timeout_at(Instant::now() + deadline, exchange).await {
            Err(_) => Err(AgentError::Timeout { command, deadline }),
            Ok(Err(Fault::Io(source))) => Err(AgentError::Io { command, source }),
            Ok(Err(Fault::TooLarge { bytes, limit })) => Err(AgentError::TooLarge {
                command,
                bytes,
                limit,
            }),
            Ok(Ok(value)) => Ok(value),
        }
    }
}

fn encode<A: serde::Serialize>(name: &str, arguments: &A) -> Result<Vec<u8>, AgentError> {
    message::request("execute", name, arguments, None).map_err(|source| AgentError::Encode {
        command: name.to_owned(),
        source,
    })
}

#[derive(Debug)]
struct Channel {
    stream: UnixStream,
    /// Read and not yet used. At most one read's worth.
    rest: Vec<u8>,
    /// The next line read is the reply to the next command written.
    in_step: bool,
}

impl Channel {
    async fn ensure_in_step(&mut self, counter: &AtomicU64) -> Result<(), Fault> {
        // Bytes that came unasked are no reply to what we ask next.
        if self.in_step && self.rest.is_empty() {
            return Ok(());
        }
        let number = counter.fetch_add(1, Ordering::Relaxed);
        // The first delimiter makes the agent's parser forget half a request.
        let mut line = vec![DELIMITER];
        line.extend(
            json!({"execute": "guest-sync-delimited", "arguments": {"id": number}})
                .to_string()
                .into_bytes(),
        );
        line.push(b'\n');
        self.write(&line).await?;
        let mut flushed = 0;
        loop {
            flushed += self.skip_to_delimiter(FLUSH - flushed).await?;
            let reply = self.read_line(1024).await;
            let reply = match reply {
                Err(Fault::TooLarge { bytes, .. }) => {
                    flushed += bytes;
                    if flushed > FLUSH {
                        return Err(Fault::TooLarge {
                            bytes: flushed,
                            limit: FLUSH,
                        });
                    }
                    continue;
                }
                other => other?,
            };
            let echoed = serde_json::from_slice::<Value>(&reply)
                .is_ok_and(|reply| reply["return"] == number);
            if echoed {
                self.in_step = true;
                return Ok(());
            }
            // The answer to an earlier sync that timed out: ours is still to come.
            flushed += reply.len() as u64;
            if flushed > FLUSH {
                return Err(Fault::TooLarge {
                    bytes: flushed,
                    limit: FLUSH,
                });
            }
        }
    }

    /// Throws bytes away up to and with a delimiter; answers how many.
    async fn skip_to_delimiter(&mut self, limit: u64) -> Result<u64, Fault> {
        let mut skipped = 0;
        loop {
            if let Some(at) = self.rest.iter().position(|byte| *byte == DELIMITER) {
                self.rest.drain(..=at);
                return Ok(skipped + at as u64 + 1);
            }
            skipped += self.rest.len() as u64;
            self.rest.clear();
            if skipped > limit {
                return Err(Fault::TooLarge {
                    bytes: skipped,
                    limit,
                });
            }
            self.fill().await?;
        }
    }

    async fn read_line(&mut self, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut lines = Lines::new(limit);
        loop {
            let mut chunk = self.rest.as_slice();
            let line = lines.feed(&mut chunk);
            let used = self.rest.len() - chunk.len();
            self.rest.drain(..used);
            match line {
                Some(Line::Whole(line)) => return Ok(line),
                Some(Line::TooLong { bytes, .. }) => return Err(too_large(bytes, limit)),
                // A line that never ends is not waited for.
                None if lines.partial() > limit as u64 => {
                    return Err(too_large(lines.partial(), limit));
                }
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        loop {
            self.stream.readable().await?;
            let mut buffer = [0; 4096];
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.rest.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn too_large(bytes: u64, limit: usize) -> Fault {
    Fault::TooLarge {
        bytes,
        limit: limit as u64,
    }
}

#[cfg(test)]
mod tests;

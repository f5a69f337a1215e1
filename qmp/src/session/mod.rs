//! A QMP session: a handle that is cheap to clone, and one task that owns the socket.
//!
//! What a QMP peer can do to us, and what comes of it:
//! - an unknown event, or an unknown value in a known one, is delivered as it is;
//! - a reply with an id that nobody waits for (a cancelled call's, or a former connection's) is dropped;
//! - a line that is no QMP is skipped: each line stands for itself, so nothing behind it is lost, and a
//!   chardev that was reconnected may really deliver the tail of a message begun for its former client.
//!   Many of them in a row end the session, for then no monitor speaks there;
//! - a line over the size limit is thrown away as it comes; the call whose id its end carries fails.

mod driver;
mod handshake;

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use qapi::Command;
use serde_json::Value;
use tokio::{
    net::UnixStream,
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    CloseReason, ConnectError, Events, ExecuteError, Refused, Version, message, queue::Hub,
};

/// QEMU's socket chardev keeps at most this many descriptors of one message (`TCP_MAX_FDS`).
const MAX_FDS: usize = 16;

/// Calls that wait in front of the driver; more callers wait in `execute`.
const BACKLOG: usize = 32;

/// How a session is begun.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for greeting and negotiation together.
    pub greeting: Duration,
    /// Longest message taken, in bytes (QEMU's whole schema is a quarter of a megabyte).
    pub limit: usize,
    /// First part of every id, so that a reply meant for a former connection is never taken for ours.
    pub generation: u64,
    /// Enable out-of-band commands where the server offers them.
    pub oob: bool,
    /// Further capabilities to enable where the server offers them.
    pub enable: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(5),
            limit: 16 << 20,
            generation: 1,
            oob: true,
            enable: Vec::new(),
        }
    }
}

/// What was dropped on the way, for whoever wonders.
#[derive(Debug, Default)]
pub struct Counters {
    unknown_ids: AtomicU64,
    late_replies: AtomicU64,
    garbage: AtomicU64,
    overlong: AtomicU64,
}

impl Counters {
    /// Replies with an id that this session never gave.
    pub fn unknown_ids(&self) -> u64 {
        self.unknown_ids.load(Ordering::Relaxed)
    }
    /// Replies to calls that were cancelled or timed out.
    pub fn late_replies(&self) -> u64 {
        self.late_replies.load(Ordering::Relaxed)
    }
    /// Lines that were no QMP.
    pub fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }
    /// Lines over the size limit.
    pub fn overlong(&self) -> u64 {
        self.overlong.load(Ordering::Relaxed)
    }
}

/// A QMP session. Clones share it; it ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    calls: mpsc::Sender<Call>,
    urgent: mpsc::Sender<Call>,
    stop: Arc<Notify>,
    closed: watch::Receiver<Option<CloseReason>>,
    hub: Arc<Hub>,
    counters: Arc<Counters>,
    version: Version,
    enabled: Vec<String>,
    oob: bool,
    generation: u64,
    next: AtomicU64,
}

/// One command on its way. Its caller has gone when `reply` is closed.
#[derive(Debug)]
struct Call {
    id: u64,
    line: Vec<u8>,
    fds: Vec<OwnedFd>,
    reply: oneshot::Sender<Answer>,
}

#[derive(Debug)]
enum Answer {
    Return(Value),
    Refused(Refused),
    TooLarge { bytes: u64, limit: usize },
}

impl Session {
    /// Connects to the listening socket at `path` and begins a session on it.
    pub async fn connect(path: &Path, options: Options) -> Result<Self, ConnectError> {
        let stream = connect(path)
            .await
            .map_err(|source| ConnectError::Connect {
                path: path.to_owned(),
                source,
            })?;
        Self::start(stream, options).await
    }

    /// Negotiates on a connected socket and spawns the driver on the current runtime.
    pub async fn start(stream: UnixStream, options: Options) -> Result<Self, ConnectError> {
        let hub = Arc::new(Hub::new());
        let counters = Arc::new(Counters::default());
        let negotiation = handshake::negotiate(&stream, &options, &hub, &counters);
        let ready = timeout(options.greeting, negotiation).await.map_err(|_| {
            ConnectError::NoGreeting {
                waited: options.greeting,
            }
        })??;
        let (calls, call_queue) = mpsc::channel(BACKLOG);
        let (urgent, urgent_queue) = mpsc::channel(BACKLOG);
        let stop = Arc::new(Notify::new());
        let (close, closed) = watch::channel(None);
        let driver = driver::Driver::new(
            driver::Ends {
                stream,
                lines: ready.lines,
                calls: call_queue,
                urgent: urgent_queue,
                stop: Arc::clone(&stop),
                close,
            },
            options.clone(),
            Arc::clone(&hub),
            Arc::clone(&counters),
        );
        tokio::spawn(driver.run(ready.rest));
        Ok(Self {
            inner: Arc::new(Inner {
                calls,
                urgent,
                stop,
                closed,
                hub,
                counters,
                version: ready.version,
                oob: ready.enabled.iter().any(|name| name == "oob"),
                enabled: ready.enabled,
                generation: options.generation,
                next: AtomicU64::new(1),
            }),
        })
    }

    /// Runs one typed command. Safe to cancel: the session forgets the call and drops its late reply.
    pub async fn execute<C: Command>(
        &self,
        command: C,
        deadline: Duration,
    ) -> Result<C::Ok, ExecuteError> {
        self.execute_with_fds(command, Vec::new(), deadline).await
    }

    /// As [`execute`](Self::execute), with file descriptors for `getfd`, `add-fd` and the like. They are
    /// closed on this side once sent.
    pub async fn execute_with_fds<C: Command>(
        &self,
        command: C,
        fds: Vec<OwnedFd>,
        deadline: Duration,
    ) -> Result<C::Ok, ExecuteError> {
        let request = Request {
            key: "execute",
            name: C::NAME,
            arguments: &command,
            fds,
        };
        decode::<C>(self.run(request, deadline).await?)
    }

    /// Runs one typed command out of band: QEMU answers it even while its main loop is busy.
    pub async fn execute_oob<C: Command>(
        &self,
        command: C,
        deadline: Duration,
    ) -> Result<C::Ok, ExecuteError> {
        if !C::ALLOW_OOB {
            return Err(ExecuteError::NoOutOfBand {
                command: C::NAME.to_owned(),
            });
        }
        let request = Request {
            key: "exec-oob",
            name: C::NAME,
            arguments: &command,
            fds: Vec::new(),
        };
        decode::<C>(self.run(request, deadline).await?)
    }

    /// Runs a command by name. `arguments` is an object or null.
    pub async fn execute_raw(
        &self,
        name: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, ExecuteError> {
        let request = Request {
            key: "execute",
            name,
            arguments: &arguments,
            fds: Vec::new(),
        };
        self.run(request, deadline).await
    }

    /// Runs a command by name, out of band.
    pub async fn execute_raw_oob(
        &self,
        name: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, ExecuteError> {
        let request = Request {
            key: "exec-oob",
            name,
            arguments: &arguments,
            fds: Vec::new(),
        };
        self.run(request, deadline).await
    }

    /// A new subscription: every event from now on, the oldest dropped (and counted) if it is not read.
    pub fn events(&self) -> Events {
        self.inner.hub.subscribe()
    }

    /// The subscription of whoever owns the VM: every event since the session began, and never without the
    /// last of those for which [`is_critical`](crate::is_critical) holds. `None` if it was taken before.
    pub fn critical_events(&self) -> Option<Events> {
        self.inner.hub.take_critical()
    }

    /// Waits for the session's end and says why it came.
    pub async fn closed(&self) -> CloseReason {
        let mut closed = self.inner.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(CloseReason::Local),
            Err(_) => CloseReason::Local,
        }
    }

    /// Why the session has ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.closed.borrow().clone()
    }

    /// Ends the session; calls under way fail with [`CloseReason::Local`].
    pub fn close(&self) {
        self.inner.stop.notify_one();
    }

    /// The server's version.
    pub fn version(&self) -> &Version {
        &self.inner.version
    }

    /// The capabilities that were offered and enabled.
    pub fn capabilities(&self) -> &[String] {
        &self.inner.enabled
    }

    /// Whether out-of-band commands can be used.
    pub fn has_oob(&self) -> bool {
        self.inner.oob
    }

    /// What was dropped so far.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    async fn run<A: serde::Serialize>(
        &self,
        request: Request<'_, A>,
        deadline: Duration,
    ) -> Result<Value, ExecuteError> {
        let command = request.name;
        let oob = request.key == "exec-oob";
        if oob && !self.inner.oob {
            return Err(ExecuteError::NoOutOfBand {
                command: command.to_owned(),
            });
        }
        if request.fds.len() > MAX_FDS {
            let count = request.fds.len();
            return Err(ExecuteError::TooManyFds {
                command: command.to_owned(),
                count,
            });
        }
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let text_id = format!("{}-{id}", self.inner.generation);
        let line = message::request(request.key, command, request.arguments, Some(&text_id))
            .map_err(|source| ExecuteError::Encode {
                command: command.to_owned(),
                source,
            })?;
        let (reply, answer) = oneshot::channel();
        let call = Call {
            id,
            line,
            fds: request.fds,
            reply,
        };
        let queue = if oob {
            &self.inner.urgent
        } else {
            &self.inner.calls
        };
        let exchange = async {
            queue.send(call).await.ok()?;
            answer.await.ok()
        };
        match timeout(deadline, exchange).await {
            Err(_) => Err(ExecuteError::Timeout {
                command: command.to_owned(),
                deadline,
            }),
            Ok(None) => Err(ExecuteError::Closed {
                command: command.to_owned(),
                reason: self.closed().await,
            }),
            Ok(Some(Answer::Return(value))) => Ok(value),
            Ok(Some(Answer::Refused(Refused { class, desc }))) => Err(ExecuteError::Refused {
                command: command.to_owned(),
                class,
                desc,
            }),
            Ok(Some(Answer::TooLarge { bytes, limit })) => Err(ExecuteError::TooLarge {
                command: command.to_owned(),
                bytes,
                limit,
            }),
        }
    }
}

/// Connects, also where the path is longer than a socket address holds (108 bytes, unix(7)), as paths below
/// `/var/lib/kubelet/pods` are: the kernel follows `/proc/self/fd` to the directory.
pub async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    const ADDRESS: usize = 107;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return UnixStream::connect(path).await;
    };
    if path.as_os_str().len() <= ADDRESS {
        return UnixStream::connect(path).await;
    }
    let directory = std::fs::File::open(parent)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    UnixStream::connect(short.join(name)).await
}

/// What `run` needs of a command.
struct Request<'a, A> {
    key: &'static str,
    name: &'a str,
    arguments: &'a A,
    fds: Vec<OwnedFd>,
}

fn decode<C: Command>(value: Value) -> Result<C::Ok, ExecuteError> {
    serde_json::from_value(value).map_err(|source| ExecuteError::Decode {
        command: C::NAME.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;

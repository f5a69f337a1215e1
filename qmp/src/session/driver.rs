//! The task that owns the socket: writes calls, reads lines, matches replies, publishes events.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use tokio::{
    io::{Interest, Ready},
    net::UnixStream,
    sync::{Notify, mpsc, watch},
};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use super::{Answer, Call, Counters, Options};
use crate::{
    CloseReason, Line, Lines, Refused,
    message::{self, Message},
    queue::Hub,
};

/// In-band commands that QEMU has and has not answered. With out-of-band enabled QEMU stops reading at 8
/// (`QMP_REQ_QUEUE_LEN_MAX`), and then an out-of-band command would wait too: so stay below, even where the
/// caller has gone, until the reply shows that QEMU is through with it.
const WINDOW: usize = 7;

/// Out-of-band commands under way; QEMU answers them one by one as it reads them.
const URGENT_WINDOW: usize = 16;

/// Lines in a row that are no QMP, after which no monitor can be at the other end.
const GARBAGE_RUN: u32 = 64;

const READ: usize = 16 << 10;

pub(super) struct Ends {
    pub(super) stream: UnixStream,
    pub(super) lines: Lines,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) urgent: mpsc::Receiver<Call>,
    pub(super) stop: Arc<Notify>,
    pub(super) close: watch::Sender<Option<CloseReason>>,
}

pub(super) struct Driver {
    ends: Ends,
    options: Options,
    hub: Arc<Hub>,
    counters: Arc<Counters>,
    /// Sent, or queued to be sent, and not answered; ids grow with time.
    pending: BTreeMap<u64, Pending>,
    urgent: BTreeMap<u64, Pending>,
    /// A call with descriptors that waits until the one before it is answered: QEMU keeps only the
    /// descriptors of the latest message, so two such calls must not be under way together.
    held: Option<Call>,
    with_fds: Option<u64>,
    out: VecDeque<Outgoing>,
    garbage_run: u32,
}

type Pending = tokio::sync::oneshot::Sender<Answer>;

struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    fds: Vec<OwnedFd>,
}

struct Fd(RawFd);

impl ScmSocket for Fd {
    fn socket_fd(&self) -> RawFd {
        self.0
    }
}

impl Driver {
    pub(super) fn new(
        ends: Ends,
        options: Options,
        hub: Arc<Hub>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            ends,
            options,
            hub,
            counters,
            pending: BTreeMap::new(),
            urgent: BTreeMap::new(),
            held: None,
            with_fds: None,
            out: VecDeque::new(),
            garbage_run: 0,
        }
    }

    pub(super) async fn run(mut self, rest: Vec<u8>) {
        let reason = match self.take_bytes(&rest) {
            Ok(()) => self.serve().await,
            Err(reason) => reason,
        };
        tracing::debug!(event = "session-ended", %reason, "QMP session ended");
        // The reason first: callers ask for it as soon as their sender is gone.
        self.ends.close.send_replace(Some(reason));
        self.hub.end();
    }

    async fn serve(&mut self) -> CloseReason {
        let mut buffer = vec![0; READ];
        loop {
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let room = self.held.is_none() && self.pending.len() < WINDOW;
            let done = tokio::select! {
                ready = self.ends.stream.ready(interest) => match ready {
                    Ok(ready) => self.transfer(ready, &mut buffer),
                    Err(error) => Err(error.into()),
                },
                call = self.ends.urgent.recv(), if self.urgent.len() < URGENT_WINDOW => match call {
                    Some(call) => { self.send_urgent(call); Ok(()) }
                    None => Err(CloseReason::Local),
                },
                call = self.ends.calls.recv(), if room => match call {
                    Some(call) => { self.send(call); Ok(()) }
                    None => Err(CloseReason::Local),
                },
                () = self.ends.stop.notified() => Err(CloseReason::Local),
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    fn transfer(&mut self, ready: Ready, buffer: &mut [u8]) -> Result<(), CloseReason> {
        if ready.is_readable() || ready.is_read_closed() {
            match self.ends.stream.try_read(buffer) {
                Ok(0) => {
                    return Err(CloseReason::Eof {
                        partial: self.ends.lines.partial(),
                    });
                }
                Ok(count) => self.take_bytes(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ready.is_writable() {
            return self.write();
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), CloseReason> {
        let Some(outgoing) = self.out.front_mut() else {
            return Ok(());
        };
        let bytes = &outgoing.bytes[outgoing.written..];
        let stream = &self.ends.stream;
        let written = if outgoing.fds.is_empty() {
            stream.try_write(bytes)
        } else {
            let fds: Vec<RawFd> = outgoing.fds.iter().map(AsRawFd::as_raw_fd).collect();
            stream.try_io(Interest::WRITABLE, || {
                Fd(stream.as_raw_fd())
                    .send_with_fds(&[bytes], &fds)
                    .map_err(io::Error::from)
            })
        };
        match written {
            Ok(count) => {
                // Descriptors travel with the first byte: they are gone even if the write was short.
                outgoing.fds.clear();
                outgoing.written += count;
                if outgoing.written == outgoing.bytes.len() {
                    self.out.pop_front();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            // The peer is gone; what it said before may still be there to read, and then EOF ends us.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out.clear();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, call: Call) {
        if call.reply.is_closed() {
            return;
        }
        if !call.fds.is_empty() {
            if self.with_fds.is_some() {
                self.held = Some(call);
                return;
            }
            self.with_fds = Some(call.id);
        }
        self.pending.insert(call.id, call.reply);
        self.out.push_back(Outgoing {
            bytes: call.line,
            written: 0,
            fds: call.fds,
        });
    }

    fn send_urgent(&mut self, call: Call) {
        if call.reply.is_closed() {
            return;
        }
        self.urgent.insert(call.id, call.reply);
        // Ahead of what is not begun: a message under way must not be cut.
        let index = self
            .out
            .iter()
            .take_while(|outgoing| outgoing.written > 0)
            .count();
        self.out.insert(
            index,
            Outgoing {
                bytes: call.line,
                written: 0,
                fds: call.fds,
            },
        );
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        let mut chunk = bytes;
        while let Some(line) = self.ends.lines.feed(&mut chunk) {
            self.take_line(line)?;
        }
        Ok(())
    }

    fn take_line(&mut self, line: Line) -> Result<(), CloseReason> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong { bytes, tail } => {
                self.counters.overlong.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    event = "line-too-long",
                    bytes,
                    limit = self.options.limit,
                    "QMP message over the size limit"
                );
                if let Some(id) = self.id_at_end(&tail) {
                    let limit = self.options.limit;
                    self.answer(id, Answer::TooLarge { bytes, limit });
                }
                return Ok(());
            }
        };
        let Some(message) = message::parse(&line) else {
            self.counters.garbage.fetch_add(1, Ordering::Relaxed);
            self.garbage_run += 1;
            tracing::warn!(
                event = "line-garbled",
                bytes = line.len(),
                "skipped a line that is no QMP"
            );
            if self.garbage_run >= GARBAGE_RUN {
                return Err(CloseReason::NotQmp {
                    lines: self.garbage_run,
                });
            }
            return Ok(());
        };
        self.garbage_run = 0;
        match message {
            Message::Event(event) => self.hub.publish(event),
            Message::Greeting { .. } => {
                tracing::debug!(event = "second-greeting", "a second QMP greeting")
            }
            Message::Reply { id, result } => self.take_reply(&id, result),
        }
        Ok(())
    }

    fn take_reply(&mut self, id: &Value, result: Result<Value, Refused>) {
        let Some(number) = id.as_str().and_then(|id| self.own_id(id)) else {
            self.counters.unknown_ids.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(event = "reply-foreign", %id, "dropped a QMP reply that is not ours");
            return;
        };
        let answer = match result {
            Ok(value) => Answer::Return(value),
            Err(refused) => Answer::Refused(refused),
        };
        self.answer(number, answer);
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        if let Some(reply) = self.urgent.remove(&id) {
            self.deliver(id, reply, answer);
            return;
        }
        let Some(reply) = self.pending.remove(&id) else {
            self.counters.unknown_ids.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(
                event = "reply-unawaited",
                id,
                "dropped a QMP reply that nobody waits for"
            );
            return;
        };
        self.deliver(id, reply, answer);
        // In-band replies come in order: calls before this one whose callers have gone will get none.
        self.pending
            .retain(|older, reply| *older > id || !reply.is_closed());
        if self
            .with_fds
            .is_some_and(|with_fds| !self.pending.contains_key(&with_fds))
        {
            self.with_fds = None;
        }
        if self.with_fds.is_none()
            && let Some(call) = self.held.take()
        {
            self.send(call);
        }
    }

    fn deliver(&self, id: u64, reply: Pending, answer: Answer) {
        if reply.send(answer).is_err() {
            self.counters.late_replies.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(event = "reply-late", id, "dropped a late QMP reply");
        }
    }

    fn own_id(&self, id: &str) -> Option<u64> {
        let (generation, number) = id.split_once('-')?;
        if generation.parse() != Ok(self.options.generation) {
            return None;
        }
        number.parse().ok()
    }

    /// QEMU writes the id of a successful reply last: `..., "id": "1-42"}`.
    fn id_at_end(&self, tail: &[u8]) -> Option<u64> {
        let tail = String::from_utf8_lossy(tail);
        let tail = tail.trim_end().strip_suffix('}')?.trim_end();
        let (_, id) = tail.strip_suffix('"')?.rsplit_once('"')?;
        let before = tail.strip_suffix(&format!("\"{id}\""))?.trim_end();
        before
            .strip_suffix(':')?
            .trim_end()
            .strip_suffix("\"id\"")?;
        self.own_id(id)
    }
}

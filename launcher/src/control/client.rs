//! One client of the inspection socket: its commands one after the other, events in between.

use std::{collections::VecDeque, io, pin::Pin, sync::Arc};

use qmp::{
    Delivery, ErrorClass, Event, Events, ExecuteError, Session,
    server::{Call, Connection, Received},
};
use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    ALLOW_WRITE, Access, Own, PREFIX, Policy, STATUS_EVENT, STATUS_EVENTS, request::Request,
};

/// Why a client was cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutOff {
    #[error("it did not negotiate in time")]
    NoHello,
    #[error("it did not read what it was sent")]
    SlowReader,
    #[error("it was {0} events behind")]
    Behind(u64),
    #[error("its connection failed: {0}")]
    Io(#[from] io::Error),
}

pub(super) struct Client {
    connection: Connection,
    session: Session,
    own: Arc<dyn Own>,
    /// Once the client has asked for it.
    status: Option<watch::Receiver<Arc<Value>>>,
    events: Events,
    policy: Policy,
    may_write: bool,
    /// `None` until it has negotiated.
    access: Option<Access>,
    waiting: VecDeque<Received>,
    left: bool,
}

type Reply = (Value, Result<Value, ExecuteError>);
type Running = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl Client {
    pub(super) fn new(
        stream: UnixStream,
        session: Session,
        own: Arc<dyn Own>,
        policy: Policy,
        may_write: bool,
    ) -> Self {
        Self {
            connection: Connection::new(stream, policy.message),
            events: session.events(),
            session,
            own,
            status: None,
            policy,
            may_write,
            access: None,
            waiting: VecDeque::new(),
            left: false,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), CutOff> {
        let hello = Instant::now() + self.policy.hello;
        self.greet().await?;
        let mut running: Option<Running> = None;
        let mut session_ended = false;
        loop {
            if running.is_none() {
                running = self.start_next().await?;
            }
            let done = running.is_none() && self.waiting.is_empty();
            if done && (self.left || session_ended) {
                return Ok(());
            }
            let room = !self.left && self.waiting.len() < self.policy.outstanding;
            tokio::select! {
                received = self.connection.next(), if room => match received? {
                    // What it asked before it left is still answered: `echo ... | socat` leaves at once.
                    Received::Closed => self.left = true,
                    request => self.waiting.push_back(request),
                },
                delivery = self.events.next(), if !session_ended => match delivery {
                    Some(delivery) => self.tell(delivery).await?,
                    None => session_ended = true,
                },
                status = changed(&mut self.status) => self.tell_status(&status).await?,
                (id, result) = run(&mut running), if running.is_some() => {
                    running = None;
                    self.answer(&id, result).await?;
                }
                () = sleep_until(hello), if self.access.is_none() => return Err(CutOff::NoHello),
            }
        }
    }

    async fn greet(&mut self) -> Result<(), CutOff> {
        let all = [STATUS_EVENTS, ALLOW_WRITE];
        let offered = &all[..if self.may_write { 2 } else { 1 }];
        let greeting = self.connection.greet(self.session.version(), offered);
        patiently(&self.policy, greeting).await
    }

    /// Begins the oldest waiting request that is QEMU's; answers those that are not.
    async fn start_next(&mut self) -> Result<Option<Running>, CutOff> {
        while let Some(received) = self.waiting.pop_front() {
            match received {
                Received::Call(call) => {
                    if let Some(running) = self.take(call).await? {
                        return Ok(Some(running));
                    }
                }
                Received::Malformed { id, desc } => self.refuse(&id, desc).await?,
                Received::Closed => {}
            }
        }
        Ok(None)
    }

    async fn take(&mut self, mut call: Call) -> Result<Option<Running>, CutOff> {
        let id = call.id.take();
        let request = match Request::read(call) {
            Ok(request) => request,
            Err(desc) => {
                self.refuse(&id, desc).await?;
                return Ok(None);
            }
        };
        match (request, self.access) {
            (Request::Negotiate { enable }, None) => self.negotiate(&id, &enable).await?,
            (Request::Negotiate { .. }, Some(_)) => {
                let desc = "Capabilities negotiation is already complete, command ignored";
                self.fail(&id, &ErrorClass::CommandNotFound, desc).await?;
            }
            (Request::Execute { .. }, None) => {
                let desc = "Expecting capabilities negotiation with 'qmp_capabilities'";
                self.fail(&id, &ErrorClass::CommandNotFound, desc).await?;
            }
            (Request::Execute { name, .. }, Some(access)) if !access.allows(&name) => {
                self.refuse(&id, &self.why_not(&name)).await?;
            }
            (Request::Execute { name, arguments }, Some(_)) if name.starts_with(PREFIX) => {
                let own = name[PREFIX.len()..].to_owned();
                let answer = Arc::clone(&self.own).run(own, arguments);
                return Ok(Some(Box::pin(async move {
                    let refused = |desc| ExecuteError::Refused {
                        command: name,
                        class: ErrorClass::GenericError,
                        desc,
                    };
                    (id, answer.await.map_err(refused))
                })));
            }
            (Request::Execute { name, arguments }, Some(_)) => {
                let (session, deadline) = (self.session.clone(), self.policy.deadline);
                return Ok(Some(Box::pin(async move {
                    (id, session.execute_raw(&name, arguments, deadline).await)
                })));
            }
        }
        Ok(None)
    }

    fn why_not(&self, name: &str) -> String {
        if self.may_write {
            format!("'{name}' may change something: enable the capability '{ALLOW_WRITE}' first")
        } else {
            format!("'{name}' may change something, and this socket is read-only for your user")
        }
    }

    async fn negotiate(&mut self, id: &Value, enable: &[String]) -> Result<(), CutOff> {
        let offered =
            |name: &&String| *name == STATUS_EVENTS || (self.may_write && *name == ALLOW_WRITE);
        if let Some(name) = enable.iter().find(|name| !offered(name)) {
            let desc = format!("QMP capability '{name}' is not available");
            return self.refuse(id, &desc).await;
        }
        let enabled = |wanted: &str| enable.iter().any(|name| name == wanted);
        self.access = Some(match enabled(ALLOW_WRITE) {
            true => Access::Write,
            false => Access::ReadOnly,
        });
        self.send_reply(id, &json!({})).await?;
        if enabled(STATUS_EVENTS) {
            let mut status = self.own.watch();
            // The first is told at once: whoever waits for a state may be there already.
            status.mark_changed();
            self.status = Some(status);
        }
        Ok(())
    }

    async fn tell_status(&mut self, status: &Value) -> Result<(), CutOff> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        let event = Event {
            name: STATUS_EVENT.to_owned(),
            data: status.clone(),
            seconds: since.as_secs().cast_signed(),
            microseconds: since.subsec_micros().into(),
            known: None,
        };
        patiently(&self.policy, self.connection.event(&event)).await
    }

    async fn tell(&mut self, delivery: Delivery) -> Result<(), CutOff> {
        match delivery {
            Delivery::Missed(count) => Err(CutOff::Behind(count)),
            // As QEMU: no events before the negotiation.
            Delivery::Event(_) if self.access.is_none() => Ok(()),
            Delivery::Event(event) => patiently(&self.policy, self.connection.event(&event)).await,
        }
    }

    async fn answer(
        &mut self,
        id: &Value,
        result: Result<Value, ExecuteError>,
    ) -> Result<(), CutOff> {
        match result {
            Ok(value) => self.send_reply(id, &value).await,
            Err(ExecuteError::Refused { class, desc, .. }) => self.fail(id, &class, &desc).await,
            Err(error) => self.refuse(id, &error.to_string()).await,
        }
    }

    async fn send_reply(&mut self, id: &Value, value: &Value) -> Result<(), CutOff> {
        patiently(&self.policy, self.connection.reply(id, value)).await
    }

    async fn refuse(&mut self, id: &Value, desc: &str) -> Result<(), CutOff> {
        self.fail(id, &ErrorClass::GenericError, desc).await
    }

    async fn fail(&mut self, id: &Value, class: &ErrorClass, desc: &str) -> Result<(), CutOff> {
        patiently(&self.policy, self.connection.fail(id, class, desc)).await
    }
}

async fn run(running: &mut Option<Running>) -> Reply {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

/// The status, when it is another. Cancel-safe.
async fn changed(status: &mut Option<watch::Receiver<Arc<Value>>>) -> Arc<Value> {
    if let Some(receiver) = status
        && receiver.changed().await.is_ok()
    {
        return Arc::clone(&receiver.borrow_and_update());
    }
    // Not asked for; or the supervisor is on its way out, and the session's end is told by itself.
    std::future::pending().await
}

/// A write that must be done before patience ends.
async fn patiently(
    policy: &Policy,
    write: impl Future<Output = io::Result<()>>,
) -> Result<(), CutOff> {
    match timeout(policy.patience, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(CutOff::SlowReader),
    }
}

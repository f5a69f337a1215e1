//! What runs beside the guest and never touches its run: what tells it its addresses, bounded logs, the control socket. One that fails is
//! reported, no more.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use nix::sys::socket::{Backlog, listen};
use numa::HostRoot;
use qmp::Session;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::agent::Port;
use super::agent_poll::{self, Answers};
use super::channel::Pid1;
use super::desk::Desk;
use super::step::Input;
use super::wishes::{Wish, Wishes};
use super::{host_devices, in_place, kept, logs, metrics};
use crate::apply::records;
use crate::apply::serve::Servers;
use crate::apply::threads;
use crate::control;
use crate::net::watch::{Health, Monitors, watch as watch_network};
use crate::plan::LaunchPlan;

/// The longest answer of the host's CPU model.
const ANSWER: Duration = Duration::from_secs(10);

/// An answer is one write; what is asked of the guest agent has no answer any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is told of devices waits in its task when nobody listens.
const DEVICES_TOLD: usize = 8;

/// All of them.
#[derive(Debug)]
pub struct Services {
    kept: BTreeMap<String, OwnedFd>,
    listeners: BTreeMap<&'static str, UnixListener>,
    port: Option<TcpListener>,
    wishes: Wishes,
    in_place: bool,
    elsewhere: watch::Sender<Vec<String>>,
    is_elsewhere: watch::Receiver<Vec<String>>,
    agent: Port,
    connected: watch::Sender<bool>,
    answers: watch::Receiver<Answers>,
    status: watch::Sender<Arc<Value>>,
    devices: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    network: watch::Sender<Health>,
    network_known: watch::Receiver<Health>,
    watching: Option<AbortHandle>,
    serving: Option<JoinHandle<()>>,
}

impl Services {
    /// With the files that an earlier supervisor left.
    pub fn new(
        kept: BTreeMap<String, OwnedFd>,
        agent: Port,
        minimal: bool,
    ) -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, receiver) = Wishes::channel();
        let (connected, is_connected) = watch::channel(false);
        let (told, answers) = watch::channel(Answers::new());
        let (elsewhere, is_elsewhere) = watch::channel(Vec::new());
        let (network, network_known) = watch::channel(Health::default());
        if !minimal {
            tokio::spawn(agent_poll::poll(agent.clone(), is_connected, told));
        }
        let services = Self {
            kept,
            listeners: BTreeMap::new(),
            port: None,
            wishes,
            in_place: false,
            elsewhere,
            is_elsewhere,
            agent,
            connected,
            answers,
            status: watch::Sender::new(Arc::new(Value::Null)),
            devices: mpsc::channel(DEVICES_TOLD),
            network,
            network_known,
            watching: None,
            serving: None,
        };
        (services, receiver)
    }

    /// Tells whoever watches; `false` if nothing is new.
    pub fn publish(&self, status: &Value) -> bool {
        self.status.send_if_modified(|known| {
            let news = known.as_ref() != status;
            if news {
                *known = Arc::new(status.clone());
            }
            news
        })
    }

    /// The guest agent is asked while it is there.
    pub fn agent_is(&self, connected: bool) {
        self.connected
            .send_if_modified(|known| std::mem::replace(known, connected) != connected);
    }

    /// Waits for something new: of the host's devices, or, without an input, of the guest agent, of who is
    /// elsewhere or of its network. Cancel-safe.
    pub async fn news(&mut self) -> Option<Input> {
        let Self {
            answers,
            devices,
            is_elsewhere,
            network_known,
            ..
        } = self;
        tokio::select! {
            // We have a sender ourselves.
            Some(input) = devices.1.recv() => Some(input),
            // A minimal supervisor asks no agent.
            Ok(()) = answers.changed() => None,
            Ok(()) = is_elsewhere.changed() => None,
            Ok(()) = network_known.changed() => None,
            else => std::future::pending().await,
        }
    }

    /// What is not where it was placed, a line each.
    pub fn elsewhere(&self) -> Value {
        json!(*self.is_elsewhere.borrow())
    }

    /// What the guest agent told, by question.
    pub fn answers(&self) -> Value {
        json!(*self.answers.borrow())
    }

    /// What is known of the guest's network.
    pub fn network(&self) -> Value {
        json!(*self.network_known.borrow())
    }

    /// Notices what others do to the guest's network.
    pub fn watch_network(&mut self, plan: &LaunchPlan, monitors: Monitors) {
        let (plan, told) = (plan.network.clone(), self.network.clone());
        told.send_replace(monitors.health(&plan));
        let watching = tokio::spawn(async move {
            if let Err(error) = watch_network(&plan, monitors, &told).await {
                tracing::warn!(event = "network.unwatched", error = %error, "network: a change will not be noticed");
            }
        });
        self.watching = Some(watching.abort_handle());
    }

    /// Taps go with QEMU: that is no news.
    pub fn leave_network(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
    }

    /// What a supervisor that follows another one can serve before it has found QEMU.
    pub fn serve_without_qemu(&mut self, plan: &LaunchPlan) {
        Servers::resume(&plan.network, &mut self.kept).start();
        let monitors = Monitors {
            links: self.kept.remove(kept::LINKS),
            rules: self.kept.remove(kept::RULES),
        };
        self.watch_network(plan, monitors);
        self.bound_logs(plan);
    }

    /// Keeps what the guest and QEMU say within bounds.
    pub fn bound_logs(&self, plan: &LaunchPlan) {
        let mut paths = vec![plan.paths.qemu_log(plan.uid)];
        if plan.lifecycle.serial_console {
            paths.push(plan.paths.serial_log(plan.uid));
        }
        tokio::spawn(async move {
            let error = logs::bound(paths, logs::LIMIT).await;
            tracing::error!(event = "logs-unbounded", error = %error, "console and QEMU logs are not bounded any more");
        });
    }

    /// Listens from the start on: who comes before there is a session waits in the backlog, and takes nothing else for
    /// the supervisor. A socket that cannot be bound is told when it is to be served.
    pub fn listen(&mut self, plan: &LaunchPlan, pid1: &Pid1) {
        let paths = [
            (kept::CONTROL, plan.paths.control()),
            (kept::METRICS, plan.paths.metrics()),
        ];
        for (name, path) in paths {
            let _told_later = self.listener(name, &path, pid1);
        }
        if let Some(address) = plan.lifecycle.metrics {
            let _told_later = self.port(address, pid1);
        }
    }

    /// Serves people for as long as `session` lives.
    pub fn serve_control(&mut self, plan: &LaunchPlan, pid1: &Pid1, session: &Session) {
        match self.listener(kept::CONTROL, &plan.paths.control(), pid1) {
            Ok(listener) => {
                let policy = control::Policy::for_uid(nix::unistd::geteuid().as_raw());
                let desk = Desk {
                    session: session.clone(),
                    wishes: self.wishes.clone(),
                    agent: self.agent.clone(),
                    status: self.status.subscribe(),
                    directory: plan.paths.vm(plan.uid),
                };
                let serving = control::serve(listener, session.clone(), Arc::new(desk), policy);
                self.serving = Some(tokio::spawn(serving));
            }
            Err(error) => {
                tracing::warn!(event = "no-control", path = %plan.paths.control(), error = %error, "`virt-launcher qmp` and `ctl` cannot be served");
            }
        }
    }

    /// Once QEMU is gone: whoever asked for that is told before we end too.
    pub async fn last_words(&mut self) {
        if let Some(serving) = self.serving.take() {
            let _who_does_not_read = tokio::time::timeout(LAST_WORDS, serving).await;
        }
    }

    /// Answers scrapers for as long as `session` lives.
    pub fn serve_metrics(&mut self, plan: &LaunchPlan, pid1: &Pid1, session: &Session, qemu: i32) {
        let path = plan.paths.metrics();
        match self.listener(kept::METRICS, &path, pid1) {
            Ok(listener) => {
                // Neither has an underscore (RFC 1123).
                let (namespace, name) = plan.domain.split_once('_').unwrap_or_default();
                let nics = plan.network.nics.iter();
                let source = metrics::Source {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    qemu,
                    nics: nics
                        .map(|nic| (nic.name.clone(), nic.tap.name.clone()))
                        .collect(),
                    session: session.clone(),
                    answers: self.answers.clone(),
                    root: HostRoot::default(),
                    path,
                };
                self.serve_port(plan, pid1, source.clone());
                tokio::spawn(metrics::serve(metrics::Listener::Unix(listener), source));
            }
            Err(error) => {
                tracing::warn!(event = "no-metrics", path = %path, error = %error, "metrics cannot be scraped");
            }
        }
    }

    fn serve_port(&mut self, plan: &LaunchPlan, pid1: &Pid1, source: metrics::Source) {
        let Some(address) = plan.lifecycle.metrics else {
            return;
        };
        let served = self
            .port(address, pid1)
            .and_then(tokio::net::TcpListener::from_std);
        match served {
            Ok(listener) => {
                tokio::spawn(metrics::serve(metrics::Listener::Tcp(listener), source));
            }
            Err(error) => {
                tracing::warn!(event = "no-metrics", path = %address, error = %error, "metrics cannot be scraped by TCP");
            }
        }
    }

    /// Bound once, as [`Self::listener`].
    fn port(&mut self, address: SocketAddr, pid1: &Pid1) -> io::Result<TcpListener> {
        let listener = match (self.port.take(), self.kept.remove(kept::METRICS_TCP)) {
            (Some(known), _) => known,
            (None, Some(socket)) => {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                listener
            }
            (None, None) => {
                let listener = metrics::port::bind(address)?;
                if let Err(error) = pid1.keep(kept::METRICS_TCP, listener.as_fd()) {
                    tracing::warn!(event = "not-kept", path = %address, error = %crate::causes::chain(&error), "a supervisor that follows does not serve this port");
                }
                listener
            }
        };
        self.port = Some(listener.try_clone()?);
        Ok(listener)
    }

    /// A socket is bound once in a VM's life: clients that wait in its backlog are served by whoever comes next.
    fn listener(
        &mut self,
        name: &'static str,
        path: &Utf8Path,
        pid1: &Pid1,
    ) -> io::Result<tokio::net::UnixListener> {
        let known = self.listeners.get(name).map(UnixListener::try_clone);
        let listener = match (known, self.kept.remove(name)) {
            (Some(known), _) => known?,
            (None, Some(socket)) => again(socket)?,
            (None, None) => {
                let listener = control::bind(path)?;
                if let Err(error) = pid1.keep(name, listener.as_fd()) {
                    tracing::warn!(event = "not-kept", path = %path, error = %crate::causes::chain(&error), "a supervisor that follows does not serve this socket");
                }
                listener
            }
        };
        self.listeners.insert(name, listener.try_clone()?);
        tokio::net::UnixListener::from_std(listener)
    }

    /// Keeps QEMU's threads where they were placed when the pod's cpuset changes. Once: a session that was begun anew
    /// changes nothing of them.
    pub fn keep_in_place(&mut self, plan: &LaunchPlan, session: &Session, qemu: i32) {
        if self.in_place || !threads::is_placed(&plan.placement) {
            return;
        }
        self.in_place = true;
        let (plan, session) = (plan.clone(), session.clone());
        let elsewhere = self.elsewhere.clone();
        tokio::spawn(async move {
            if let Err(error) = in_place::keep(&plan, qemu, &session, elsewhere).await {
                tracing::warn!(event = "cpuset-unwatched", error = %crate::causes::chain(&error), "a change of the pod's CPUs or memory nodes will not be noticed");
            }
        });
    }

    /// Watches the host's devices that the guest has for as long as `session` lives.
    pub fn watch_devices(&self, plan: &LaunchPlan, session: &Session) {
        if !plan.passthrough.devices.is_empty() {
            let devices = plan.passthrough.devices.clone();
            let told = self.devices.0.clone();
            tokio::spawn(host_devices::watch(devices, session.clone(), told));
        }
    }

    /// `host-model` is `-cpu host`: what that meant here is written down for whoever migrates or wonders.
    pub fn record_host_model(&self, plan: &LaunchPlan, session: &Session) {
        if plan.lifecycle.host_model {
            let path = plan.paths.vm(plan.uid).join("cpu-model.json");
            tokio::spawn(record_host_model(session.clone(), path));
        }
    }
}

/// Peers see the credentials of whoever called `listen` last (unix(7), SO_PEERCRED).
fn again(socket: OwnedFd) -> io::Result<UnixListener> {
    listen(&socket, Backlog::MAXCONN)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn record_host_model(session: Session, path: camino::Utf8PathBuf) {
    let model = json!({"type": "full", "model": {"name": "host"}});
    let expansion = session
        .execute_raw("query-cpu-model-expansion", model, ANSWER)
        .await
        .map_err(|error| crate::causes::chain(&error));
    let recorded = expansion.and_then(|expansion| {
        records::write(&path, &expansion).map_err(|error| crate::causes::chain(&error))
    });
    if let Err(error) = recorded {
        tracing::warn!(event = "cpu-model-not-recorded", path = %path, error, "the host's CPU model is not recorded");
    }
}

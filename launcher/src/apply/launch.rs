//! The steps from a plan to a running guest.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hugepages::Bytes;
use numa::HostRoot;
use qmp::Session;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::devices;
use super::error::LaunchError;
use super::files;
use super::fill::{Fill, FillError};
use super::finish::finish;
use super::pinned::Pinned;
use super::progress::watched;
use super::serve::Servers;
use super::threads;
use super::told::{images_made, networks};
use crate::net::setup::{self, NetworkUp};
use crate::net::watch::Monitors;
use crate::passthrough::plan::PassthroughPlan;
use crate::plan::LaunchPlan;
use crate::privileges;
use crate::qemu;
use crate::storage::prepare::prepare;
use crate::supervise::channel::Pid1;
use crate::supervise::kept;

/// QEMU greets within 50 ms, after the last page that it fills; a machine that swaps takes longer.
const GREETING: Duration = Duration::from_secs(60);
/// Between two looks at memory that comes: a page of 1 GiB takes a third of a second to clear.
const PACE: Duration = Duration::from_millis(100);
/// What every test runs on. Of an older one nobody knows whether it does what its arguments say.
const OLDEST_QEMU: u64 = 10;

/// What a successful launch leaves to the supervisor.
#[derive(Debug)]
pub struct Launched {
    /// The monitor.
    pub session: Session,
    /// Events that must not be missed, from before the guest ran.
    pub events: qmp::Events,
    /// What tells the guest its addresses.
    pub servers: Servers,
    /// What tells us of changes to its network.
    pub monitors: Monitors,
    /// QEMU, in the pod's PID namespace.
    pub qemu: i32,
}

/// PID 1's answer to the spawn request, passed on by whoever listens to PID 1.
pub type Spawned = oneshot::Receiver<Result<i32, String>>;

/// Carries `plan` out. `asked` is called just before PID 1 is asked to start QEMU: from then on there may be one.
pub async fn launch(
    plan: &LaunchPlan,
    pid1: &Pid1,
    asked: impl FnOnce(),
    spawned: Spawned,
) -> Result<Launched, LaunchError> {
    let started = Instant::now();
    threads::check_realtime(&plan.placement)?;
    threads::make_way(&plan.placement)?;
    let images = in_thread({
        let storage = plan.storage.clone();
        move || prepare(&storage)
    });
    let taps = setup::open_taps(&plan.network).map_err(LaunchError::Network);
    let devices = async {
        // A thread costs more than to find nothing to do.
        if plan.passthrough == PassthroughPlan::default() {
            return Ok(Ok(()));
        }
        let passthrough = plan.passthrough.clone();
        in_thread(move || devices::prepare(&passthrough, &HostRoot::default())).await
    };
    let (images, devices) = tokio::join!(watched("storage", images), devices);
    let images = images?.map_err(LaunchError::Storage)?;
    let mut launch = Launch {
        plan,
        started,
        network: None,
    };
    tracing::info!(
        event = "storage-ready",
        ms = ms(started),
        "storage: {}",
        images_made(&images)
    );
    let devices = devices.and_then(|done| done.map_err(LaunchError::Device));
    let launched = match devices.and(taps) {
        Ok(taps) => launch.with_images(pid1, taps, asked, spawned).await,
        Err(error) => Err(error),
    };
    match launched {
        Ok(launched) => Ok(launched),
        Err(error) => {
            launch.undo().await;
            for failure in images.undo() {
                tracing::warn!(event = "undo-failed", error = %crate::causes::chain(&failure), "a disk image is left behind");
            }
            Err(error)
        }
    }
}

struct Launch<'a> {
    plan: &'a LaunchPlan,
    started: Instant,
    network: Option<NetworkUp>,
}

impl Launch<'_> {
    async fn with_images(
        &mut self,
        pid1: &Pid1,
        taps: setup::Taps,
        asked: impl FnOnce(),
        spawned: Spawned,
    ) -> Result<Launched, LaunchError> {
        let plan = self.plan;
        let request = qemu::spawn_request(plan);
        let files = files::open(plan, &taps)?;
        let fill = Fill::prepare(&plan.placement, &HostRoot::default())?;
        asked();
        pid1.spawn(&request, &files)?;
        // Ours must close: were QEMU to die, its sockets would otherwise stay open and nobody would notice.
        drop(files);
        let network = async {
            let up = setup::set_up(&plan.network)
                .await
                .map_err(LaunchError::Network)?;
            let monitors = Monitors::open(&plan.network);
            Ok((up, monitors, setup::verify(&plan.network).await))
        };
        let (network, monitor) = tokio::join!(timed(network), timed(self.monitor(spawned, fill)));
        let (network_ms, monitor_ms) = (network.0, monitor.0);
        // Kept first: whatever fails from here on, it is undone.
        let network: Result<_, LaunchError> = network.1.map(|(up, monitors, read_back)| {
            self.network = Some(up);
            let read_back = read_back.map_err(LaunchError::NotAsPlanned);
            read_back.map(|()| monitors)
        });
        // Without QEMU nothing else can have worked.
        let (session, events, pid) = monitor.1?;
        let monitors = network??;
        // QEMU holds them now; until then the taps must not vanish under the bridge.
        drop(taps);
        let servers = self.bind_servers(pid1)?;
        let sockets = [
            (kept::LINKS, &monitors.links),
            (kept::RULES, &monitors.rules),
        ];
        for (name, socket) in sockets {
            if let Some(socket) = socket {
                pid1.keep(name, socket.as_fd())?;
            }
        }
        tracing::info!(
            event = "network-ready",
            ms = network_ms,
            "network: {}",
            networks(plan)
        );
        tracing::info!(
            event = "qemu-ready",
            ms = monitor_ms,
            pid,
            "qemu: {} as pid {pid}",
            session.version()
        );
        let threads = match threads::is_placed(&plan.placement) {
            true => Some(threads::place(&session, pid, &plan.placement).await?),
            false => None,
        };
        self.drop_privileges(pid)?;
        pid1.settled()?;
        finish(plan, &session, pid, threads.as_ref(), self.started).await?;
        Ok(Launched {
            session,
            events,
            servers,
            monitors,
            qemu: pid,
        })
    }

    async fn monitor(
        &self,
        spawned: Spawned,
        fill: Option<Fill>,
    ) -> Result<(Session, qmp::Events, i32), LaunchError> {
        let gone = || LaunchError::NotSpawned {
            reason: "PID 1 did not answer".to_owned(),
        };
        let pid = spawned
            .await
            .map_err(|_| gone())?
            .map_err(|reason| LaunchError::NotSpawned { reason })?;
        let pinned = (!self.plan.passthrough.devices.is_empty())
            .then(|| Pinned::of(pid, &HostRoot::default()));
        let session = match (fill, pinned) {
            (None, None) => watched("qemu", self.connect(GREETING)).await,
            (fill, pinned) => self.with_memory(fill, pinned).await,
        }?;
        if session.version().major < OLDEST_QEMU {
            return Err(LaunchError::TooOld {
                version: session.version().clone(),
                least: OLDEST_QEMU,
            });
        }
        let events = session
            .critical_events()
            .unwrap_or_else(|| session.events());
        Ok((session, events, pid))
    }

    async fn connect(&self, greeting: Duration) -> Result<Session, LaunchError> {
        let options = qmp::Options {
            greeting,
            ..qmp::Options::default()
        };
        let path = self.plan.paths.qmp(self.plan.uid);
        let session = Session::connect(path.as_std_path(), options).await;
        session.map_err(LaunchError::Monitor)
    }

    /// Memory comes first, page by page, then what vfio pins of it: as long as either does, the greeting is not late.
    async fn with_memory(
        &self,
        mut fill: Option<Fill>,
        mut pinned: Option<Pinned>,
    ) -> Result<Session, LaunchError> {
        let started = Instant::now();
        let session = tokio::select! {
            session = self.connect(Duration::MAX) => session,
            () = standstill(&mut fill, &mut pinned) => {
                Err(LaunchError::Monitor(qmp::ConnectError::NoGreeting { waited: GREETING }))
            }
        };
        let session = match session {
            Ok(session) => session,
            Err(error) => {
                if let Some(shortfall) = fill.as_ref().and_then(Fill::explain) {
                    return Err(FillError::Short(shortfall).into());
                }
                let late = matches!(
                    error,
                    LaunchError::Monitor(qmp::ConnectError::NoGreeting { .. })
                );
                let devices = &self.plan.passthrough;
                return Err(match devices::explain(devices, &HostRoot::default()) {
                    Some(device) if !late => LaunchError::Device(device),
                    _ => error,
                });
            }
        };
        if let Some(fill) = fill {
            let (bytes, size) = (fill.wanted(), fill.page_size());
            tracing::info!(
                event = "memory-filled",
                ms = ms(started),
                "memory: {bytes} in pages of {size}"
            );
        }
        if let Some(mut pinned) = pinned {
            pinned.look();
            let (bytes, took) = pinned.total();
            tracing::info!(
                event = "memory-pinned",
                ms = (took.as_secs_f64() * 10_000.0).round() / 10.0,
                bytes = bytes.0,
                "memory: {} pinned for DMA",
                Bytes(bytes.0 >> 20 << 20)
            );
        }
        Ok(session)
    }

    /// Ports below 1024 and raw sockets need privileges that are about to fall: PID 1 keeps the sockets for supervisors to
    /// come.
    fn bind_servers(&self, pid1: &Pid1) -> Result<Servers, LaunchError> {
        let servers = Servers::bind(&self.plan.network).map_err(LaunchError::Serve)?;
        for (name, socket) in servers.sockets() {
            pid1.keep(&name, socket)?;
        }
        Ok(servers)
    }

    /// The guest has not run yet: from here on nothing around it can do more than it can.
    fn drop_privileges(&self, qemu: i32) -> Result<(), LaunchError> {
        let started = Instant::now();
        privileges::drop_all()?;
        let processes = [
            ("PID 1", 1),
            ("the supervisor", std::process::id().cast_signed()),
            ("QEMU", qemu),
        ];
        for (name, pid) in processes {
            privileges::verify_process(name, pid, &HostRoot::default())?;
        }
        tracing::info!(
            event = "privileges-dropped",
            ms = ms(started),
            "privileges: none left in PID 1, supervisor and QEMU"
        );
        Ok(())
    }

    async fn undo(&mut self) {
        let Some(network) = self.network.take() else {
            return;
        };
        for failure in network.undo().await.err().into_iter().flatten() {
            tracing::warn!(event = "undo-failed", error = %crate::causes::chain(&failure), "part of the network is left behind");
        }
    }
}

/// Ends when for [`GREETING`] nothing has come.
async fn standstill(fill: &mut Option<Fill>, pinned: &mut Option<Pinned>) {
    let mut came = Instant::now();
    while came.elapsed() < GREETING {
        sleep(PACE).await;
        let filled = fill.as_mut().is_some_and(Fill::look);
        if pinned.as_mut().is_some_and(Pinned::look) || filled {
            came = Instant::now();
        }
    }
}

/// Runs blocking work on a thread that ends with it: one that idled in a pool would keep its capabilities.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LaunchError> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("storage".to_owned());
    let handle = thread
        .spawn(move || drop(done.send(work())))
        .map_err(LaunchError::Thread)?;
    let result = result.await;
    let ended = handle.join();
    match (result, ended) {
        (Ok(value), Ok(())) => Ok(value),
        _ => Err(LaunchError::Thread(io::Error::other(
            "the thread ended early",
        ))),
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (f64, T) {
    let started = Instant::now();
    let value = work.await;
    (ms(started), value)
}

pub(super) fn ms(since: Instant) -> f64 {
    crate::local::outer::millis(since)
}

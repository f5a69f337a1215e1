//! Round trips over one connection, by one and the same client: to a bare QEMU, to the supervisor's own operations, through
//! its socket to QEMU; and what a socket costs alone. The supervisor's session is measured by itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::Utf8Path;
use launcher::control::{ALLOW_WRITE, PREFIX};
use qmp::Session;
use serde_json::{Value, json};

use crate::bare::{ANSWER, Bare, Ready};
use crate::pod::{Network, Pod, children};
use crate::program;
use crate::report::Report;
use crate::sample::us;
use crate::shape::{file, guest, idle_vmi, planned};
use crate::wire::Wire;

const CALLS: usize = 2000;
/// Of those that change something or take long.
const SOME: usize = 400;

/// What metrics ask of QEMU.
const STATS: [&str; 4] = [
    "query-cpus-fast",
    "query-blockstats",
    "query-balloon",
    "query-status",
];

/// A bare QEMU and one of ours, both with a guest that is idle.
pub(crate) struct Pair {
    pub(crate) bare: Wire,
    pub(crate) pod: Pod,
    child: std::process::Child,
}

impl Pair {
    pub(crate) async fn start() -> Result<Self> {
        let vmi = idle_vmi()?;
        let (_directory, file) = file(&vmi)?;
        let plan = planned(&vmi).await?;
        let (child, _) = Ready::make(&plan)?.spawn(&[])?;
        let mut bare = Wire::connect(&plan.paths.qmp(plan.uid), None)?;
        bare.call("cont")?;
        let mut pod = Pod::start(&program()?, &file, &guest(), (Network::Prepared, 1))?;
        pod.event("guest-running")?;
        let qemu = children(pod.pid1()?)?
            .into_iter()
            .find(|pid| Pod::is_qemu(*pid))
            .context("no QEMU in the pod")?;
        for pid in [i32::try_from(child.id())?, qemu] {
            until_idle(pid)?;
        }
        Ok(Self { bare, pod, child })
    }

    /// A client of the supervisor's socket, which may write.
    pub(crate) fn supervisor(&self) -> Result<Wire> {
        let path = self.pod.path("/run/kubevirt-private/control.sock")?;
        Wire::connect(&path, Some(ALLOW_WRITE))
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.pod.end()?;
        self.bare.send("{\"execute\":\"quit\"}\n")?;
        self.child.wait()?;
        Ok(())
    }
}

/// Its firmware has found nothing to boot: no CPU time in a quarter of a second.
fn until_idle(pid: i32) -> Result<()> {
    let spent = || -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("proc_pid_stat(5)")?;
        // utime and stime, the 14th and 15th field; the state is the third.
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    };
    let mut before = spent()?;
    for _ in 0..240 {
        std::thread::sleep(Duration::from_millis(250));
        let now = spent()?;
        if now <= before + 1 {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("the guest of QEMU {pid} is never idle")
}

/// Status, pause with unpause, statistics.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let mut pair = Pair::start().await?;
    let mut ours = pair.supervisor()?;
    let own = |name: &str| format!("{PREFIX}{name}");
    let (status, pause, unpause) = (own("status"), own("pause"), own("unpause"));
    let mut echo = Echo::start()?;
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..CALLS {
        times[0].push(timed(|| pair.bare.call("query-status"))?);
        times[1].push(timed(|| ours.call(&status))?);
        times[2].push(timed(|| ours.call("query-status"))?);
        times[3].push(timed(|| echo.round())?);
    }
    let [raw, direct, through, socket] = times;
    report.add(
        "control: status",
        "µs",
        &[
            ("raw QMP, `query-status`", raw),
            ("supervisor, its own status", direct),
            ("through the supervisor", through),
            ("a socket alone", socket),
        ],
    );
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..SOME {
        times[0].push(timed(|| pair.bare.call("stop"))?);
        times[1].push(timed(|| pair.bare.call("cont"))?);
        times[2].push(timed(|| ours.call(&pause))?);
        times[3].push(timed(|| ours.call(&unpause))?);
        times[4].push(timed(|| ours.call("stop"))?);
        times[5].push(timed(|| ours.call("cont"))?);
    }
    let [stop, cont, paused, unpaused, through_stop, through_cont] = times;
    report.add(
        "control: pause",
        "µs",
        &[
            ("raw QMP, `stop`", stop),
            ("supervisor, pause", paused),
            ("through the supervisor", through_stop),
        ],
    );
    report.add(
        "control: unpause",
        "µs",
        &[
            ("raw QMP, `cont`", cont),
            ("supervisor, unpause", unpaused),
            ("through the supervisor", through_cont),
        ],
    );
    let metrics = pair.pod.path("/run/kubevirt-private/metrics.sock")?;
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..SOME {
        let each = || STATS.iter().try_for_each(|command| pair.bare.call(command));
        times[0].push(timed(each)?);
        times[1].push(timed(|| scrape(&metrics))?);
    }
    let [raw, scraped] = times;
    report.add(
        "control: statistics",
        "µs",
        &[
            ("raw QMP, four queries one by one", raw),
            ("all metrics, over HTTP", scraped),
        ],
    );
    pair.end()?;
    session(report).await
}

/// Our QMP session beside the least client, each with a bare QEMU.
async fn session(report: &mut Report) -> Result<()> {
    let plan = planned(&idle_vmi()?).await?;
    let bare = Bare::start(&plan).await?;
    until_idle(bare.child.id().try_into()?)?;
    let mut ours = Vec::new();
    for _ in 0..CALLS {
        let started = Instant::now();
        query(&bare.session).await?;
        ours.push(us(started));
    }
    bare.stop().await?;
    let (mut child, _) = Ready::make(&plan)?.spawn(&[])?;
    let mut wire = Wire::connect(&plan.paths.qmp(plan.uid), None)?;
    wire.call("cont")?;
    until_idle(child.id().try_into()?)?;
    let mut raw = Vec::new();
    for _ in 0..CALLS {
        raw.push(timed(|| wire.call("query-status"))?);
    }
    wire.send("{\"execute\":\"quit\"}\n")?;
    child.wait()?;
    report.add(
        "control: the supervisor's own session",
        "µs",
        &[("raw QMP, `query-status`", raw), ("our session", ours)],
    );
    Ok(())
}

async fn query(session: &Session) -> Result<Value> {
    Ok(session
        .execute_raw("query-status", json!({}), ANSWER)
        .await?)
}

fn scrape(path: &Utf8Path) -> Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    anyhow::ensure!(text.contains("kubevirt_vmi_"), "no metrics: {text}");
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(us(started))
}

/// A thread that sends back what it gets.
struct Echo(UnixStream);

impl Echo {
    fn start() -> Result<Self> {
        let (near, mut far) = UnixStream::pair()?;
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(read @ 1..) = far.read(&mut buffer) {
                if far.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
        });
        Ok(Self(near))
    }

    /// As many bytes as a status is asked with.
    fn round(&mut self) -> Result<()> {
        let mut message = [0; 40];
        self.0.write_all(&message)?;
        Ok(self.0.read_exact(&mut message)?)
    }
}

//! The node's clock jumps while a VM runs: nothing ends, fires or is put off by it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log};
use tests::run::paused_vmi;

pub(crate) const CASES: &[Case] = &[Case {
    name: "clock-jumps-end-and-fire-nothing",
    shape: &DEFAULT,
    run: jumps,
}];

const LONG: Duration = Duration::from_secs(90);
/// Of the guest, in seconds.
const GRACE: u64 = 25;
const DAY: i64 = 24 * 3600;

/// The clock as it would be, kept by the one that nobody can set; put back when dropped.
struct Clock {
    wall: Duration,
    begun: Instant,
}

impl Clock {
    fn read() -> Result<Self> {
        let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
        Ok(Self {
            wall: now.into(),
            begun: Instant::now(),
        })
    }

    /// So many seconds beside what is true.
    fn jump(&self, seconds: i64) -> Result<()> {
        let now = TimeSpec::from_duration(self.wall + self.begun.elapsed());
        let there = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
        log(&format!("the clock jumps to {there}"));
        Ok(clock_settime(ClockId::CLOCK_REALTIME, there)?)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.jump(0).expect("a clock that could be set before");
    }
}

fn status(pod: &Running) -> Result<Value> {
    let (code, told) = pod.exec(&["ctl", "status"])?;
    ensure!(code == Some(0), "{code:?}: {told}");
    Ok(serde_json::from_str(&told)?)
}

/// A guest that runs firmware hears no power button: only its grace period ends it.
fn jumps() -> Result<()> {
    let mut vmi = paused_vmi();
    vmi["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
    vmi["spec"]["domain"]["devices"]["watchdog"] =
        json!({"name": "dog", "i6300esb": {"action": "poweroff"}});
    let mut pod = Pod::new("clock").run(&vmi)?;
    pod.started.wait_for("left paused as asked", LONG)?;
    let (code, _) = pod.exec(&["ctl", "unpause"])?;
    ensure!(code == Some(0));
    let before = status(&pod)?;
    ensure!(before["state"] == "Running", "{before:#}");
    let clock = Clock::read()?;
    for seconds in [DAY, -DAY, 0] {
        clock.jump(seconds)?;
        ensure!(status(&pod)? == before, "{:#}", status(&pod)?);
        // Each keeps its time: two seconds of it are no day, and no more than two.
        let (code, _) = pod.exec(&["ctl", "wait", "paused", "--timeout", "2"])?;
        ensure!(code == Some(1), "exit code {code:?}");
    }
    // A deadline under way, told to a supervisor that follows over each jump.
    let asked = Instant::now();
    pod.signal(Signal::SIGTERM)?;
    pod.started.wait_for("its power button is pressed", LONG)?;
    clock.jump(DAY)?;
    let supervisor = before["pids"]["supervisor"].as_i64().context("a pid")?;
    let inside = supervisor.to_string();
    let mut all = kernel::processes(&pod.cgroup())?.into_iter();
    let supervisor = all.find(|pid| {
        let numbers = kernel::status(&pid.to_string(), "NSpid");
        numbers.is_ok_and(|numbers| numbers.split_whitespace().nth(1) == Some(inside.as_str()))
    });
    kill(
        Pid::from_raw(supervisor.context("a supervisor")?),
        Signal::SIGKILL,
    )?;
    clock.jump(-DAY)?;
    let now = status(&pod)?;
    ensure!(now["supervisorRestarts"] == 1, "{now:#}");
    ensure!(
        now["phase"] == "stopping" && now["since"] != before["since"],
        "{now:#}"
    );
    log(&format!(
        "{:.1} s after it was asked to end",
        asked.elapsed().as_secs_f64()
    ));
    // Its press again, and the supervisor's own end of the guest's time, not PID 1's after it.
    let told = pod
        .started
        .wait_for("its power button is pressed; it has ", LONG)?;
    let left = told.split("it has ").nth(1).unwrap_or_default();
    let left: u64 = left.split(' ').next().unwrap_or_default().parse()?;
    ensure!((1..=GRACE).contains(&left), "{told}");
    pod.started.wait_for("did not power off in time", LONG)?;
    let code = pod.code(LONG)?;
    let said = pod.started.seen().join("\n");
    ensure!(code == 7, "exit code {code}");
    ensure!(!said.contains("PID 1 ends QEMU"), "{said}");
    Ok(())
}

//! The guest outlives its supervisor: killed at the boundaries of every step of start, run, pause and end, and at random
//! moments in between, it never costs a guest, a second QEMU, a wrong exit reason or a leak.
//!
//! `LIFE_KILLS` is how many kills all cases make together (a few by default), `LIFE_SEED` repeats a run.

#[path = "life/aloud.rs"]
mod aloud;
#[path = "life/gaps.rs"]
mod gaps;
#[path = "life/moments.rs"]
mod moments;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::dhcp_client::{Client, mac};
use tests::pod::Pod;
use tests::run::{BOOT, Launch, Run, SOON, ask, vmi};
use tests::world::World;
use tests::{ctl, pod};

use aloud::Aloud;
use gaps::Gaps;
use moments::{Boundaries, Dice, directory, kills};

/// How far past a boundary a kill may fall.
const BEYOND: Duration = Duration::from_millis(3);
/// Every line of a start, in its order: each is the end of a step.
const STEPS: [&str; 6] = [
    "plan:",
    "storage:",
    "network: default",
    "qemu:",
    "privileges:",
    "guest: running",
];

/// The pod with its supervisor of this moment.
fn pod(run: &mut Run) -> Result<Pod> {
    let mut last = None;
    for _ in 0..400 {
        match run.pod() {
            Ok(pod) => return Ok(pod),
            // Between two supervisors.
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Err(last.context("never asked")?)
}

/// Kills the supervisor of this moment; `false` where there is none.
fn kill(run: &mut Run) -> Result<bool> {
    let Ok(supervisor) = Pod::supervisor_of(run.child().id()) else {
        return Ok(false);
    };
    if supervisor.signal(Signal::SIGKILL).is_err() {
        return Ok(false);
    }
    supervisor.ended(SOON)?;
    Ok(true)
}

#[test]
fn a_running_guest_outlives_every_supervisor() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(1);
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.ready()?;
    let mut aloud = Aloud::begin(&mut run, &world)?;
    let first = pod(&mut run)?;
    let directory = directory(&world.runs())?;
    let control = directory.with_file_name("control.sock");
    let mac = mac(run.demo("mac").context("the guest's MAC")?)?;
    let mut client = Client::plug(&first.network()?, mac)?;
    let mut gaps = Gaps::default();
    for kill in 0..kills().div_ceil(2) {
        // Some after the second that ends a row of deaths, some in rows that back off and turn minimal.
        dice.wait(Duration::from_millis(1600));
        let pod = pod(&mut run)?;
        assert_eq!(pod.qemu.pid, first.qemu.pid, "one QEMU, after {kill} kills");
        pod.supervisor.signal(Signal::SIGKILL)?;
        gaps.measure(UnixStream::connect(&control)?, &mut client)?;
        pod.supervisor.ended(SOON)?;
    }
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    aloud.goes_on(&mut run)?;
    let after = pod(&mut run)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    aloud.check(&run)?;
    gaps.told(run.seen());
    gaps.report();
    after.is_gone(SOON)?;
    // It holds the pod's namespaces, and our port with them.
    drop(first);
    world.is_clean(SOON)
}

#[test]
fn a_pause_is_taken_up_at_every_boundary() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(4);
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.ready()?;
    let mut aloud = Aloud::begin(&mut run, &world)?;
    let qemu = pod(&mut run)?.qemu.pid;
    let directory = directory(&world.runs())?;
    for kill_number in 0..kills().div_ceil(6) {
        let (word, wanted) = match kill_number % 2 {
            0 => ("pause", "Paused"),
            _ => ("unpause", "Running"),
        };
        let boundaries = Boundaries::of(&directory)?;
        let told = std::thread::spawn(move || ctl::output(&[word]));
        // Decided, told, and known: some three replacements of the journal, and two of the status.
        let nth = u64::from(kill_number / 2) % 5 + 1;
        let passed = boundaries.pass(nth, Duration::from_secs(2))?;
        dice.wait(BEYOND);
        kill(&mut run)?;
        // Whoever asked may have been cut off; it is asked again until it is so.
        let _cut_off = told.join().expect("it does not panic")?;
        pod::until(SOON, || {
            ctl::ctl(&[word])?;
            let (state, reason) = ctl::state()?;
            ensure!(
                state == wanted,
                "{state} ({reason}) after `{word}`, boundary {nth} passed: {passed}"
            );
            Ok(())
        })?;
        assert_eq!(pod(&mut run)?.qemu.pid, qemu, "one QEMU, the same");
    }
    ctl::ctl(&["unpause"])?;
    aloud.goes_on(&mut run)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    aloud.check(&run)?;
    world.is_clean(SOON)
}

#[test]
fn a_start_whose_supervisor_dies_is_finished_or_undone() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(2);
    let (mut finished, mut undone) = (0, 0);
    for kill_number in 0..kills().div_ceil(4) {
        let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
        let steps = STEPS.len() as u64;
        match u64::from(kill_number) % (steps + 4) {
            step if step < steps => {
                let step = STEPS[usize::try_from(step)?];
                run.wait_for(step, SOON)?;
                dice.wait(BEYOND);
            }
            // The replacements of its files, which begin as soon as there is a directory.
            other if other < steps + 3 => {
                let place = pod::until(SOON, || directory(&world.runs()))?;
                let nth = 1 + dice.below(4);
                Boundaries::of(&place)?.pass(nth, Duration::from_secs(1))?;
            }
            _ => {
                run.wait_for("network: pod", SOON)?;
                dice.wait(Duration::from_millis(900));
            }
        }
        if !kill(&mut run)? {
            // Not there yet, or the run is over.
            drop(run);
            continue;
        }
        // It goes on, or it ends by itself.
        match run.wait_for("QEMU is in hand", SOON) {
            Ok(_) => {
                run.signal(Signal::SIGTERM)?;
                let code = run.code()?;
                let wanted = [Some(0), Some(7), Some(8)];
                assert!(wanted.contains(&code), "{code:?}: {:#?}", run.seen());
                finished += 1;
            }
            Err(_) => {
                assert_eq!(run.code()?, Some(8), "{:#?}", run.seen());
                undone += 1;
            }
        }
        world.is_clean(SOON)?;
    }
    println!("starts: {finished} finished, {undone} undone");
    assert!(finished + undone > 0, "no kill came in time");
    Ok(())
}

#[test]
fn an_end_under_way_is_finished_by_whoever_comes_next() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(3);
    let mut killed = 0;
    while killed < kills().div_ceil(12) {
        let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
        run.wait_for("demo: power-button=armed", BOOT)?;
        let place = directory(&world.runs())?;
        let boundaries = Boundaries::of(&place)?;
        run.signal(Signal::SIGTERM)?;
        boundaries.pass(1 + u64::from(killed) % 2, Duration::from_secs(2))?;
        for _ in 0..3 {
            dice.wait(BEYOND);
            killed += u32::from(kill(&mut run)?);
            // The next one replaces the files again as it goes on.
            boundaries.pass(1 + dice.below(4), Duration::from_millis(500))?;
        }
        assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
        let said = run.seen().join("\n");
        assert!(said.contains("the guest powered off"), "{said}");
        world.is_clean(SOON)?;
    }
    Ok(())
}

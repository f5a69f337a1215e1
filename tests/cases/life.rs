//! The guest outlives its supervisor: killed at random moments of start, run and end, it never costs a guest, a second
//! QEMU, a wrong exit reason or a leak.
//!
//! `LIFE_KILLS` is how many kills a case makes in all (a few by default), `LIFE_SEED` repeats a run.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::pod::Pod;
use tests::run::{BOOT, Launch, Run, SOON, ask, vmi};
use tests::world::World;

/// Where nobody asks for more.
const FEW: u32 = 12;

/// Numbers that look random and can be had again (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn new(case: u64) -> Self {
        let seed = number("LIFE_SEED").unwrap_or(1);
        Self(seed.wrapping_mul(2_654_435_761).wrapping_add(case))
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis((self.0 >> 33) % millis.max(1))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn kills() -> u32 {
    number("LIFE_KILLS").map_or(FEW, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// The moment is the point: there is no event to wait for.
fn at_a_random_moment(dice: &mut Dice, limit: Duration) {
    std::thread::sleep(dice.up_to(limit));
}

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

/// Has the guest's shell count aloud, five times a second.
fn count_aloud(run: &mut Run) -> Result<()> {
    run.wait_for("built-in commands", BOOT)?;
    let mut console = run.socket("virt-serial0")?;
    console.write_all(b"i=0; while :; do i=$((i+1)); echo \"count=$i=\"; usleep 200000; done\n")?;
    run.wait_for("count=1=", BOOT).map(drop)
}

/// Every number that the guest said is one more than the one before: it never stood still for good, nor began anew.
fn counted(run: &Run) -> Result<u64> {
    let mut last = 0;
    for line in run.seen() {
        let Some(number) = line
            .split_once("count=")
            .and_then(|(_, rest)| rest.split_once('='))
            .and_then(|(number, _)| number.parse::<u64>().ok())
        else {
            continue;
        };
        ensure!(number == last + 1, "the guest said {number} after {last}");
        last = number;
    }
    Ok(last)
}

fn gaps(run: &Run) -> Vec<f64> {
    let mut gaps: Vec<f64> = run
        .seen()
        .iter()
        .filter(|line| line.contains("QEMU is in hand"))
        .filter_map(|line| {
            let (_, rest) = line.rsplit_once('(')?;
            rest.strip_suffix(" ms)")?.parse().ok()
        })
        .collect();
    gaps.sort_by(f64::total_cmp);
    gaps
}

#[test]
fn a_running_guest_outlives_every_supervisor() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(1);
    let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
    run.ready()?;
    count_aloud(&mut run)?;
    let qemu = pod(&mut run)?.qemu.pid;
    for kill in 0..kills() {
        at_a_random_moment(&mut dice, Duration::from_millis(700));
        let pod = pod(&mut run)?;
        assert_eq!(pod.qemu.pid, qemu, "one QEMU, the same, after {kill} kills");
        pod.supervisor.signal(Signal::SIGKILL)?;
        pod.supervisor.ended(SOON)?;
    }
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    let before = counted(&run)?;
    run.wait_for(&format!("count={}=", before + 3), BOOT)?;
    counted(&run)?;
    let after = pod(&mut run)?;
    run.signal(Signal::SIGTERM)?;
    assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
    let gaps = gaps(&run);
    println!(
        "{} of {} takeovers told, from start to QEMU in hand: median {:?} ms, longest {:?} ms",
        gaps.len(),
        kills(),
        gaps.get(gaps.len() / 2),
        gaps.last()
    );
    after.is_gone(SOON)?;
    world.is_clean(SOON)
}

#[test]
fn a_start_whose_supervisor_dies_is_finished_or_undone() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(2);
    let (mut finished, mut undone) = (0, 0);
    for _ in 0..kills().div_ceil(2) {
        let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
        run.wait_for("network: pod", SOON)?;
        at_a_random_moment(&mut dice, Duration::from_millis(600));
        let Ok(supervisor) = Pod::supervisor_of(run.child().id()) else {
            // Not there yet, or the run is over: nothing was killed.
            drop(run);
            continue;
        };
        supervisor.signal(Signal::SIGKILL)?;
        supervisor.ended(SOON)?;
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
    assert!(finished + undone > 0, "no kill came in time");
    Ok(())
}

#[test]
fn an_end_under_way_is_finished_by_whoever_comes_next() -> Result<()> {
    let world = World::enter()?;
    let mut dice = Dice::new(3);
    for _ in 0..kills().div_ceil(6) {
        let mut run = Launch::of(&vmi(&[("mode", "serve")])).start()?;
        run.wait_for("demo: power-button=armed", BOOT)?;
        run.signal(Signal::SIGTERM)?;
        for _ in 0..3 {
            at_a_random_moment(&mut dice, Duration::from_millis(150));
            if let Ok(supervisor) = Pod::supervisor_of(run.child().id()) {
                let _already_over = supervisor.signal(Signal::SIGKILL);
            }
        }
        assert_eq!(run.code()?, Some(0), "{:#?}", run.seen());
        let said = run.seen().join("\n");
        assert!(said.contains("the guest powered off"), "{said}");
        world.is_clean(SOON)?;
    }
    Ok(())
}

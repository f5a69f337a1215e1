//! A guest that says too much.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::ctl::{ctl, output, refused};
use tests::dhcp_client::{Client, mac};
use tests::flood::{Asking, Counts};
use tests::namespace;
use tests::pod::until;
use tests::run::{SOON, ask};
use tests::world::World;

/// Memory of a process that is its own, in KiB.
fn anonymous(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("RssAnon")?.parse()?)
}

#[test]
fn a_flood_in_the_agents_place_is_cut_off() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = super::running()?;
    run.ready()?;
    run.shell()?;
    let before = anonymous(pod.supervisor.pid)?;
    let mut console = run.keyboard()?;
    // No line end, no reply, and as fast as it goes.
    writeln!(
        console,
        "for port in /dev/vport*; do (yes 7777777 | tr -d '\\n' >$port &); done; echo flood=$((1+1))="
    )?;
    run.wait_for("flood=2=", SOON)?;
    until(SOON, || {
        let status = ctl(&["status"])?;
        ensure!(status["agentConnected"] == true, "{status:#}");
        Ok(())
    })?;
    let (code, said) = refused(&["ping"])?;
    ensure!(code == Some(1), "{said}");
    // Somebody asks again and again, and is told that there is no answer.
    for _ in 0..3 {
        let told = output(&["exec", "true"])?;
        ensure!(!told.status.success(), "{told:?}");
    }
    let after = anonymous(pod.supervisor.pid)?;
    ensure!(
        after < before + (32 << 10),
        "{before} KiB, then {after} KiB"
    );
    super::is(("Running", "Unknown"))?;
    let answer = ask(run.address()?, 8080, "a-word")?;
    assert_eq!(answer, "demo-guest masquerade a-word");
    ensure!(run.pod()?.supervisor.pid == pod.supervisor.pid, "it lives");
    super::power_off(&mut run, &world)
}

/// How often the threads of a process went to sleep or were put aside.
fn switches(pid: i32) -> Result<u64> {
    let mut all = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let status = std::fs::read_to_string(task.path().join("status"))?;
        let lines = status
            .lines()
            .filter_map(|line| line.split_once("ctxt_switches:"));
        for (_, number) in lines {
            all += number.trim().parse::<u64>()?;
        }
    }
    Ok(all)
}

/// Of each kind of question.
const QUESTIONS: u64 = 200_000;
/// A server takes thirty-two at once and one in 50 ms after that.
const BURST: u128 = 32;
const INTERVAL_MS: u128 = 50;
/// What may wait in a socket: 64 KiB by the kernel's count, in which a message is no less than 512 bytes.
const QUEUE: u128 = 128;

#[test]
fn a_flood_of_questions_is_answered_slowly() -> Result<()> {
    let world = World::enter()?;
    let (mut run, pod) = super::running()?;
    run.ready()?;
    let mac = mac(run.demo("mac").context("the guest's MAC")?)?;
    let mut client = Client::plug(&pod.network()?, mac)?;
    let from = "fe80::77";
    let address = [from, "/64"].concat();
    namespace::run(
        "ip",
        &["address", "add", &address, "dev", "probe1", "nodad"],
    )?;
    let asking = Asking::on("probe1", from.parse()?)?;
    let supervisor = pod.supervisor.pid;
    let counts = || -> Result<_> { Ok((Counts::of(supervisor)?, switches(supervisor)?)) };

    let memory = anonymous(supervisor)?;
    let (before, began) = (counts()?, Instant::now());
    for _ in 0..QUESTIONS {
        client.discover()?;
        asking.ask()?;
    }
    let (after, took) = (counts()?, began.elapsed());
    // Whatever the machine does meanwhile.
    let answered = BURST + took.as_millis() / INTERVAL_MS + 2;
    for (now, before) in after.0.into_iter().zip(before.0) {
        let count = now.since(before);
        ensure!(
            u128::from(count.taken) <= answered + QUEUE,
            "{count:?}, where {answered} could be answered in {took:?}"
        );
        // Nearly all came as far as the pod: else there was no flood.
        ensure!(count.taken + count.dropped > QUESTIONS / 2, "{count:?}");
    }
    // It wakes for what it may read, to wait for its next turn and to write to the log, for each of three; and for what
    // came into the queues meanwhile.
    let woken = u128::from(after.1 - before.1);
    ensure!(
        woken <= 3 * (3 * answered + QUEUE),
        "{woken} times, where {answered} of each could be answered in {took:?}"
    );

    // Others are served meanwhile.
    ctl(&["status"])?;
    // What came too fast was dropped, and when what was kept is answered the guest is heard again.
    let mut heard = false;
    for _ in 0..30 {
        if heard {
            break;
        }
        client.discover()?;
        heard = client.offered(Duration::from_secs(1)).is_ok();
    }
    ensure!(heard, "DHCP was never answered again");
    let after = anonymous(supervisor)?;
    ensure!(after < memory + (8 << 10), "{memory} KiB, then {after} KiB");
    ensure!(run.pod()?.supervisor.pid == supervisor, "it lives");
    println!(
        "{woken} wakeups for {QUESTIONS} of each kind, of which {answered} could be answered in {took:?}; {memory} KiB, then {after} KiB"
    );
    // It holds the pod's namespaces, and our port with them.
    drop(pod);
    super::power_off(&mut run, &world)
}

//! A guest that counts aloud on its console: whether it ever stood still for good, or began anew.

use std::io::Write;

use anyhow::{Result, ensure};

use crate::run::{BOOT, Run};

/// Every so many numbers it asks for its lease anew.
pub const LEASE_EVERY: u64 = 10;

/// Has the guest's shell count, five times a second; `lease=N=` follows where DHCP answered it.
pub fn count_aloud(run: &mut Run) -> Result<()> {
    run.wait_for("built-in commands", BOOT)?;
    let mut console = run.keyboard()?;
    // What it is told is what it has: nothing is done about it.
    console
        .write_all(b"l() { udhcpc -nqi eth0 -s /bin/true >/dev/null 2>&1 && echo lease=$i=; }\n")?;
    run.wait_for("echo lease=$i=; }", BOOT)?;
    let line = format!(
        "i=0;while :;do i=$((i+1));echo count=$i=;[ $((i%{LEASE_EVERY})) = 0 ]&&l;usleep 200000;done\n"
    );
    console.write_all(line.as_bytes())?;
    run.wait_for("count=1=", BOOT).map(drop)
}

/// Waits until DHCP has answered a question that the guest asks from now on.
pub fn lease_again(run: &mut Run) -> Result<()> {
    let next = (counted(run)? / LEASE_EVERY + 2) * LEASE_EVERY;
    run.wait_for(&format!("lease={next}="), BOOT).map(drop)
}

/// The last number; every one that the guest said is one more than the one before.
pub fn counted(run: &Run) -> Result<u64> {
    in_order(0, run.seen().iter().filter_map(|line| number(line)))
}

/// The number that a line has.
pub fn number(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("count=")?;
    rest.split_once('=')?.0.parse().ok()
}

/// The last of the numbers that come after `last`, where each is one more than the one before.
pub fn in_order(last: u64, numbers: impl IntoIterator<Item = u64>) -> Result<u64> {
    numbers.into_iter().try_fold(last, |last, number| {
        ensure!(number == last + 1, "the guest said {number} after {last}");
        Ok(number)
    })
}

//! When a supervisor is killed: at random, and at the boundaries of its steps, which are the replacements of its files
//! (decided, not yet done) and its lines (done).

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Where nobody asks for more.
const FEW: u32 = 12;

/// How many kills the cases make, all of them together.
pub(crate) fn kills() -> u32 {
    number("LIFE_KILLS").map_or(FEW, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Numbers that look random and can be had again (Knuth's MMIX generator).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(case: u64) -> Self {
        let seed = number("LIFE_SEED").unwrap_or(1);
        Self(seed.wrapping_mul(2_654_435_761).wrapping_add(case))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    /// The moment is the point: there is no event to wait for.
    pub(crate) fn wait(&mut self, limit: Duration) {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_micros(self.below(micros)));
    }
}

/// A VM's directory, watched.
pub(crate) struct Boundaries {
    inotify: Inotify,
}

impl Boundaries {
    /// From now on.
    pub(crate) fn of(directory: &Utf8Path) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(directory.as_std_path(), AddWatchFlags::IN_MOVED_TO)?;
        Ok(Self { inotify })
    }

    /// Waits until journal, status or plan were replaced `count` times; `false` if they were not in that time.
    pub(crate) fn pass(&self, count: u64, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        let mut passed = 0;
        while passed < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut ready = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::try_from(left)?)? == 0 {
                return Ok(false);
            }
            passed += self
                .inotify
                .read_events()
                .map_or(0, |events| events.len() as u64);
        }
        Ok(true)
    }
}

/// The directory of the one VM that runs, once there is one.
pub(crate) fn directory(runs: &[Utf8PathBuf]) -> Result<Utf8PathBuf> {
    let private = runs.iter().map(|run| run.join("private"));
    let mut entries = private
        .filter_map(|private| private.read_dir_utf8().ok())
        .flat_map(|entries| entries.flatten());
    let vm = entries.find(|entry| entry.path().is_dir());
    Ok(vm.context("there is no VM's directory yet")?.into_path())
}

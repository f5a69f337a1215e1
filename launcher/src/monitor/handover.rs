//! What one program of PID 1 leaves to the next, which takes its place by exec: everything that the kernel does not keep.
//!
//! The document lies in a memfd; the files that it names go along under their own numbers. It is versioned: a newer program
//! reads an older one's, an older one refuses a newer's before anything has happened (`resume --rehearse`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::inherited;
use super::protocol::{QemuProcess, Swap};

/// The shape that this program writes.
pub const VERSION: u32 = 1;
/// Numbers below are for what a program opens by itself.
const LOWEST_FD: RawFd = 64;
/// Some hundred bytes a file.
const LONGEST: u64 = 1 << 20;

/// A handover that cannot be made or taken.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A file could not be passed on or taken.
    #[error("cannot {what} of a handover")]
    Io {
        /// In words.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no handover.
    #[error("the handover is not understood")]
    Garbled(#[source] serde_json::Error),
    /// A later program's.
    #[error(
        "the running program hands over in version {theirs}, and this one reads up to {VERSION}: it is older"
    )]
    Newer {
        /// Its version.
        theirs: u32,
    },
}

/// The document. Times are milliseconds from the moment it is written, which is that of the exec.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Handover {
    /// [`VERSION`].
    pub version: u32,
    /// The writer's own version, for people.
    pub program: String,
    /// With which supervisors are started, after `supervise`.
    pub arguments: Vec<String>,
    /// Supervisors that died.
    pub restarts: u32,
    /// Supervisors that were started.
    pub starts: u32,
    /// Deaths in a row.
    pub deaths: u32,
    /// The rest of a start takes no privilege.
    pub settled: bool,
    /// How often the pod was asked to end.
    pub signals: u32,
    /// When first.
    pub asked_ago: Option<u64>,
    /// QEMU.
    pub guest: Option<HandedGuest>,
    /// The supervisor, if there is one at this moment.
    pub supervisor: Option<HandedSupervisor>,
    /// Kept files.
    pub vault: BTreeMap<String, RawFd>,
    /// What confines the pod's processes already.
    #[serde(default)]
    pub landlock: Option<i32>,
    /// The upgrade that this is.
    pub swap: Option<Swap>,
}

/// QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedGuest {
    /// Number, exit.
    pub process: QemuProcess,
    /// Its pidfd.
    pub pidfd: RawFd,
    /// After the pod was asked to end.
    pub end_after: Option<u64>,
    /// TERM was sent; KILL follows then.
    pub kill_in: Option<u64>,
    /// Its end was seen so long ago.
    pub gone_ago: Option<u64>,
}

/// The supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSupervisor {
    /// In the pod's PID namespace.
    pub pid: i32,
    /// PID 1's end of the channel.
    pub channel: RawFd,
    /// When it was started.
    pub started_ago: u64,
    /// When it had the VM in hand.
    pub ready_ago: Option<u64>,
    /// Signals that it was told of.
    pub signals_told: u32,
}

/// A handover on its way: its files stay open over an exec for as long as this lives.
#[derive(Debug, Default)]
pub struct Passed {
    files: Vec<OwnedFd>,
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> HandoverError {
    move |source| HandoverError::Io { what, source }
}

impl Passed {
    /// Has a file go along; the answer is its number on the other side.
    pub fn file(&mut self, file: BorrowedFd<'_>) -> Result<RawFd, HandoverError> {
        // F_DUPFD without CLOEXEC: that is the point.
        let number = fcntl(file, FcntlArg::F_DUPFD(LOWEST_FD))
            .map_err(|errno| failed("pass on a file")(errno.into()))?;
        self.files.push(own(number));
        Ok(number)
    }

    /// Writes the document; the answer is its number on the other side.
    pub fn document(&mut self, handover: &Handover) -> Result<RawFd, HandoverError> {
        let memfd = memfd_create("handover", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| failed("make the document")(errno.into()))?;
        let mut memfd = File::from(memfd);
        let text = serde_json::to_vec(handover).map_err(HandoverError::Garbled)?;
        memfd
            .write_all(&text)
            .map_err(failed("write the document"))?;
        memfd.rewind().map_err(failed("write the document"))?;
        self.file(memfd.as_fd())
    }
}

#[expect(unsafe_code, reason = "F_DUPFD answers a raw number")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: fcntl has just made this number for us alone, and hands out numbers only.
    unsafe { OwnedFd::from_raw_fd(number) }
}

impl Handover {
    /// Reads the document that was left at `number`.
    pub fn take(number: RawFd) -> Result<Self, HandoverError> {
        let mut file = File::from(inherited::take(number).map_err(failed("take the document"))?);
        file.rewind().map_err(failed("read the document"))?;
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(failed("read the document"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, HandoverError> {
        // First of all its version: the rest of a later one may have any shape.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text).map_err(HandoverError::Garbled)?;
        if version > VERSION {
            return Err(HandoverError::Newer { theirs: version });
        }
        serde_json::from_str(text).map_err(HandoverError::Garbled)
    }
}

/// A file of the document.
pub fn file(number: RawFd) -> Result<OwnedFd, HandoverError> {
    inherited::take(number).map_err(failed("take a file"))
}

/// Milliseconds since then.
pub fn ago(then: Instant) -> u64 {
    millis(then.elapsed())
}

/// Milliseconds until then; none left once it has passed.
pub fn ahead(then: Instant) -> u64 {
    millis(then.saturating_duration_since(Instant::now()))
}

/// The moment so long ago, as far as the clock goes back.
pub fn before(milliseconds: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(milliseconds))
        .unwrap_or(now)
}

/// The moment so far ahead.
pub fn after(milliseconds: u64) -> Instant {
    let now = Instant::now();
    now.checked_add(Duration::from_millis(milliseconds))
        .unwrap_or(now)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The path by which an open program is executed.
pub fn program_path(program: BorrowedFd<'_>) -> String {
    numa::HostRoot::default()
        .proc(&format!("self/fd/{}", program.as_raw_fd()))
        .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 was written; never changed, so that it stays readable.
    const OLD: &str = r#"{
        "version": 1, "program": "0.1.0", "arguments": ["--vmi", "-"], "restarts": 2, "starts": 3, "deaths": 1,
        "settled": true, "signals": 1, "asked_ago": 250,
        "guest": {"process": {"pid": 7, "exit": null, "overdue": false}, "pidfd": 64, "end_after": 40000,
                  "kill_in": null, "gone_ago": null},
        "supervisor": {"pid": 6, "channel": 65, "started_ago": 1000, "ready_ago": 900, "signals_told": 0},
        "vault": {"state": 66},
        "swap": {"id": "a", "stage": "under-way", "reason": null}
    }"#;

    #[test]
    fn what_was_written_is_read() {
        let old = Handover::parse(OLD).unwrap();
        assert_eq!(old.vault["state"], 66);
        let again = Handover::parse(&serde_json::to_string(&old).unwrap()).unwrap();
        assert_eq!(again, old);
    }

    #[test]
    fn a_later_programs_is_told_from_garbage() {
        let later = Handover::parse(r#"{"version": 9, "guest": 1}"#);
        assert!(matches!(later, Err(HandoverError::Newer { theirs: 9 })));
        let garbage = Handover::parse(r#"{"version": 1, "guest": 1}"#);
        assert!(matches!(garbage, Err(HandoverError::Garbled(_))));
    }

    #[test]
    fn files_go_along_until_it_is_dropped() {
        let null = File::open("/dev/null").unwrap();
        let mut passed = Passed::default();
        let number = passed.file(null.as_fd()).unwrap();
        assert!(number >= LOWEST_FD);
        let flags = fcntl(&passed.files[0], FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, 0, "it stays open over an exec");
        drop(passed);
        assert!(inherited::take(number).is_err());
    }
}

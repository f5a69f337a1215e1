//! What images say of themselves, read by a child that can do nothing else.
//!
//! Somebody built these bytes, and whoever serves the file may never answer. So they are read and understood in a child
//! ([`confined`]) that has the images open and a pipe for the answer, and no way to anything else. Nothing that an image
//! names is opened: a chain of them is as long as one.

mod confined;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2, read};

use super::qcow2::Header;
use crate::monitor::pidfd::pidfd_open;

/// A local image takes microseconds; one behind a network that has to find its server again takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// What has been killed is gone at once, unless the kernel itself waits for the file. In milliseconds.
const GOING: u16 = 1000;

/// An image whose first bytes are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The kernel made no child.
    #[error("no process could be started to read its header: {0}")]
    NoChild(Errno),
    /// The file did not answer.
    #[error("its header could not be read within {0:?}")]
    Hangs(Duration),
    /// The file answered with an error.
    #[error("its header cannot be read: {0}")]
    Read(Errno),
    /// The child was ended, or could not be confined.
    #[error("the process that was to read its header ended early ({0})")]
    Ended(String),
}

impl From<HeaderError> for io::Error {
    fn from(error: HeaderError) -> Self {
        Self::other(error)
    }
}

/// What was found of one image: none when it is no qcow2.
pub(super) type Found = Result<Option<Header>, HeaderError>;

/// Which file, and as which writer left it: `stat(2)`'s device, inode, length, times of content and of inode.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

/// What was read in this process: a start looks at an image for its plan, and again when it makes the overlay. A file
/// that was written to since is another one.
static KNOWN: Mutex<BTreeMap<Identity, Option<Header>>> = Mutex::new(BTreeMap::new());

fn known() -> MutexGuard<'static, BTreeMap<Identity, Option<Header>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(file: &File) -> io::Result<Identity> {
    let told = file.metadata()?;
    Ok((
        told.dev(),
        told.ino(),
        told.len(),
        (told.mtime(), told.mtime_nsec()),
        (told.ctime(), told.ctime_nsec()),
    ))
}

/// The header of one image, which is at its beginning.
pub(super) fn of(file: File) -> Found {
    let identity = identity(&file).ok();
    if let Some(header) = identity.and_then(|it| known().get(&it).copied()) {
        return Ok(header);
    }
    let mut found = Reading::begin(vec![file], PATIENCE).finish();
    found.pop().unwrap_or_else(|| unanswered("no answer"))
}

fn unanswered(why: impl ToString) -> Found {
    Err(HeaderError::Ended(why.to_string()))
}

/// Headers that are being read.
#[derive(Debug)]
pub(super) struct Reading {
    identities: Vec<Option<Identity>>,
    /// None without files.
    child: Option<Result<Child, Errno>>,
}

#[derive(Debug)]
struct Child {
    pid: Pid,
    answers: OwnedFd,
    patience: Duration,
    deadline: Instant,
    is_over: bool,
}

impl Reading {
    /// Starts the child; without files there is none.
    pub(super) fn of(files: Vec<File>) -> Self {
        Self::begin(files, PATIENCE)
    }

    fn begin(files: Vec<File>, patience: Duration) -> Self {
        let identities = files.iter().map(|file| identity(file).ok()).collect();
        let child = (!files.is_empty()).then(|| Child::start(&files, patience));
        Self { identities, child }
    }

    /// One for each file, in their order.
    pub(super) fn finish(self) -> Vec<Found> {
        let count = self.identities.len();
        let found = match self.child {
            None => return Vec::new(),
            Some(Err(errno)) => return vec![Err(HeaderError::NoChild(errno)); count],
            Some(Ok(child)) => child.finish(count),
        };
        for (identity, found) in self.identities.into_iter().zip(&found) {
            if let (Some(identity), Ok(header)) = (identity, found) {
                known().insert(identity, *header);
            }
        }
        found
    }
}

impl Child {
    fn start(files: &[File], patience: Duration) -> Result<Self, Errno> {
        let (answers, to_us) = pipe2(OFlag::O_CLOEXEC)?;
        let pid = confined::start(files, &to_us)?;
        Ok(Self {
            pid,
            answers,
            patience,
            deadline: Instant::now() + patience,
            is_over: false,
        })
    }

    fn finish(mut self, count: usize) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::with_capacity(count);
        let mut stopped = None;
        while found.len() < count {
            match self.answer() {
                Ok(answer) => found.push(confined::understood(&answer)),
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        // One that closed its pipe is about to end, and how says what went wrong.
        let closed = matches!(stopped, Some(HeaderError::Ended(_)));
        let ended = self.end(if closed { GOING } else { 0 });
        let rest = match stopped {
            // What ended it says more than that its pipe is closed.
            Some(HeaderError::Ended(_)) | None => HeaderError::Ended(ended),
            Some(error) => error,
        };
        found.resize(count, Err(rest));
        found
    }

    /// The next answer; never more of what the child says than that.
    fn answer(&self) -> Result<[u8; confined::ANSWER], HeaderError> {
        let failed = |errno: Errno| HeaderError::Ended(errno.to_string());
        let mut answer = [0; confined::ANSWER];
        let mut filled = 0;
        while let Some(rest) = answer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // To the next millisecond, in which `poll` counts.
            let left = PollTimeout::try_from(left + Duration::from_millis(1));
            let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, left.unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Err(HeaderError::Hangs(self.patience)),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed(errno)),
            }
            match read(&self.answers, rest) {
                Ok(0) => return Err(HeaderError::Ended("no answer".to_owned())),
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(answer)
    }

    /// Ends the child, if it has not ended `by_itself` in so many milliseconds, and says how that was.
    fn end(&mut self, by_itself: u16) -> String {
        if std::mem::replace(&mut self.is_over, true) {
            return String::new();
        }
        let Ok(pidfd) = pidfd_open(self.pid) else {
            return "it is gone".to_owned();
        };
        let is_gone = |within: u16| {
            let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            poll(&mut end, within).is_ok_and(|ready| ready > 0)
        };
        if !is_gone(by_itself) {
            let _gone = kill(self.pid, Signal::SIGKILL);
        }
        if !is_gone(GOING) {
            return "the kernel waits for the file".to_owned();
        }
        match waitpid(self.pid, None) {
            Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => signal.as_str().to_owned(),
            Ok(other) => format!("{other:?}"),
            Err(errno) => errno.to_string(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end(0);
    }
}

#[cfg(test)]
mod tests;

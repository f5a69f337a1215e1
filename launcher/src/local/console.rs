//! The guest's serial console: followed from its log, typed into through its socket.
//!
//! What the guest says is always read from the log file, never from the socket: QEMU waits for nobody who reads a
//! file. The socket is connected by the first key, and what comes out of it is thrown away.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::readable::Readable;
use crate::supervise::logs;

/// Ctrl-], as telnet and `virsh console` have it.
const LEAVE: u8 = 0x1d;

/// Reads a log as it grows, and from its beginning when it was cut.
#[derive(Debug)]
pub struct Follower {
    path: Utf8PathBuf,
    file: File,
    position: u64,
    watch: Readable,
}

impl Follower {
    /// Starts at the beginning; makes the file when it is not there yet.
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        drop(logs::open(path)?);
        let watch = logs::watch(&[path.to_owned()])?;
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path)?,
            position: 0,
            watch,
        })
    }

    /// What is there now and was not returned yet; at most 64 KiB.
    pub fn available(&mut self) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.position {
            self.position = 0;
        }
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        let read = (&self.file).take(64 << 10).read_to_end(&mut bytes)?;
        self.position += read as u64;
        Ok(bytes)
    }

    /// Waits for more. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let bytes = self.available()?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
            logs::changed(&self.watch).await?;
        }
    }

    /// The directory it is in, in a form short enough for a socket's address.
    fn sibling(&self, name: &str) -> io::Result<(File, Utf8PathBuf)> {
        let folder = File::open(self.path.parent().unwrap_or(Utf8Path::new("/")))?;
        let path = Utf8PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
        Ok((folder, path))
    }
}

/// Whether there is a person to type.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Whether this terminal is ours to change: a background job that tries is stopped (SIGTTOU, `termios(3)`).
pub fn is_foreground() -> bool {
    // No controlling terminal is nobody's foreground, and stops nobody.
    nix::unistd::tcgetpgrp(io::stdin()).map_or(true, |group| group == nix::unistd::getpgrp())
}

/// Copies the console to stdout until cancelled.
pub async fn copy(follower: &mut Follower) -> io::Error {
    let mut out = tokio::io::stdout();
    loop {
        let written = match follower.next().await {
            Ok(bytes) => out.write_all(&bytes).await,
            Err(error) => return error,
        };
        if let Err(error) = written {
            return error;
        }
        if let Err(error) = out.flush().await {
            return error;
        }
    }
}

/// How long the reader of stdout may take for what is left. A pipe that nobody reads must not keep the run from ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows what is left, once the guest is gone and nothing else is left to do: until all is said or `hurry` comes.
pub async fn show_rest<T>(follower: Follower, hurry: impl Future<Output = T>) {
    let hurry = async { drop(hurry.await) };
    if !finish(follower, io::stdout(), hurry, PATIENCE).await {
        tell_it_is_cut();
    }
}

/// Told only where telling does not wait: stdout and stderr are often one pipe, which nobody reads now.
fn tell_it_is_cut() {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO) == Ok(1) {
        tracing::warn!(
            event = "console-cut",
            "console: nobody reads stdout, so the end of it is not shown"
        );
    }
}

/// Copies what is left to `out`, once the guest is gone. False when that took longer than `patience`, or `hurry` came.
async fn finish(
    mut follower: Follower,
    mut out: impl Write + Send + 'static,
    hurry: impl Future<Output = ()>,
    patience: Duration,
) -> bool {
    // A write cannot be cancelled, so a thread has it, which the program's end does not wait for.
    let copy = tokio::task::spawn_blocking(move || write_rest(&mut follower, &mut out));
    tokio::select! {
        // A reader that went away is no reason to fail the run.
        _ = copy => true,
        () = hurry => false,
        () = tokio::time::sleep(patience) => false,
    }
}

/// Copies what is there and was not returned yet to `out`, waiting for whoever reads it.
pub fn write_rest(follower: &mut Follower, out: &mut impl Write) -> io::Result<()> {
    loop {
        let bytes = follower.available()?;
        if bytes.is_empty() {
            return out.flush();
        }
        out.write_all(&bytes)?;
    }
}

/// The terminal in raw mode, restored when dropped.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Every key goes to the guest, ^C among them.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _closed = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Attaches this terminal until Ctrl-] or the end of input.
pub async fn attach(follower: &mut Follower, socket: &str) -> io::Result<()> {
    let _raw = RawTerminal::enter()?;
    let (_folder, path) = follower.sibling(socket)?;
    let mut keys = tokio::io::stdin();
    let mut guest: Option<UnixStream> = None;
    let mut typed = [0; 256];
    let mut echoed = [0; 4096];
    let mut out = tokio::io::stdout();
    loop {
        let unread = async {
            match guest.as_mut() {
                Some(stream) => stream.read(&mut echoed).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            bytes = follower.next() => {
                out.write_all(&bytes?).await?;
                out.flush().await?;
            }
            read = unread => {
                if !matches!(read, Ok(1..)) {
                    guest = None;
                }
            }
            read = keys.read(&mut typed) => {
                let keys = &typed[..read?];
                let leave = keys.iter().position(|key| *key == LEAVE);
                let wanted = &keys[..leave.unwrap_or(keys.len())];
                if guest.is_none() && !wanted.is_empty() {
                    // Before QEMU has its console a key is lost, as on a serial line.
                    guest = UnixStream::connect(path.as_std_path()).await.ok();
                }
                if let Some(stream) = guest.as_mut() && stream.write_all(wanted).await.is_err() {
                    guest = None;
                }
                if leave.is_some() || keys.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(said: &[u8]) -> (tempfile::TempDir, Follower) {
        let guard = tempfile::tempdir().expect("a directory");
        let path = Utf8Path::from_path(guard.path())
            .expect("UTF-8")
            .join("log");
        std::fs::write(&path, said).expect("a file");
        (guard, Follower::open(&path).expect("a log"))
    }

    fn in_runtime<F: Future>(run: impl FnOnce() -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let answer = runtime.block_on(async { run().await });
        runtime.shutdown_background();
        answer
    }

    #[test]
    fn what_is_left_is_copied_even_of_a_log_that_is_gone() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let whole = in_runtime(|| {
            let (guard, follower) = console(b"last words");
            drop(guard);
            finish(follower, writer, std::future::pending(), Duration::MAX)
        });
        assert!(whole);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("readable");
        assert_eq!(said, "last words");
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for() {
        // More than a pipe holds.
        let said = vec![b'x'; 1 << 20];
        let (_unread, writer) = io::pipe().expect("a pipe");
        assert!(!in_runtime(|| {
            let (_guard, follower) = console(&said);
            finish(follower, writer, std::future::ready(()), Duration::MAX)
        }));
        let (_unread, writer) = io::pipe().expect("a pipe");
        assert!(!in_runtime(|| {
            let (_guard, follower) = console(&said);
            let patience = Duration::from_millis(10);
            finish(follower, writer, std::future::pending(), patience)
        }));
    }
}

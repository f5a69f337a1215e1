//! The guest's serial console: followed from its log, typed into through its socket.
//!
//! What the guest says is always read from the log file, never from the socket: QEMU waits for nobody who reads a
//! file. The socket is connected by the first key, and what comes out of it is thrown away.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

use camino::{Utf8Path, Utf8PathBuf};
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

/// Copies what is left, once the guest is gone.
pub fn finish(follower: &mut Follower) -> io::Result<()> {
    let mut out = io::stdout().lock();
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

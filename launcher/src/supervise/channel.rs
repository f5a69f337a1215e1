//! The supervisor's end of its channel with PID 1, on the runtime.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::monitor::channel::{Channel, ChannelError, FILES_A_PACKET, Packet};
use crate::monitor::pid1::CHANNEL_FD;
use crate::monitor::protocol::{Ask, Hello, OLDEST, SpawnRequest, Tell, VERSION};
use crate::readable::Readable;

/// PID 1, as the supervisor sees it.
#[derive(Debug)]
pub struct Pid1 {
    channel: Channel,
    /// The same socket, for the runtime.
    ready: Readable,
}

/// PID 1 could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Pid1Error {
    /// Started by hand.
    #[error("file {CHANNEL_FD} is not a channel to PID 1: `supervise` is started by `run` alone")]
    Absent(#[source] nix::errno::Errno),
    /// The runtime or the kernel refused.
    #[error("cannot use the channel to PID 1")]
    Io(#[from] io::Error),
    /// The protocol failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The request could not be put into a memfd.
    #[error("cannot write the spawn request")]
    Request(#[source] io::Error),
    /// PID 1 began with something else than its greeting.
    #[error("PID 1 did not say what there is")]
    NoHello,
    /// An upgrade that does not fit.
    #[error("PID 1 speaks version {theirs} of the channel and this program {OLDEST} to {VERSION}")]
    Version {
        /// What PID 1 speaks.
        theirs: u32,
    },
}

/// What this supervisor found.
#[derive(Debug)]
pub struct Found {
    /// In PID 1's words.
    pub hello: Hello,
    /// QEMU's handle, once it was started.
    pub qemu: Option<OwnedFd>,
    /// Files that an earlier supervisor had PID 1 keep.
    pub kept: BTreeMap<String, OwnedFd>,
}

impl Pid1 {
    /// Takes the file that PID 1 left at [`CHANNEL_FD`]. Once, at the start, before any other file is opened.
    pub fn inherit() -> Result<Self, Pid1Error> {
        let socket = inherited().map_err(Pid1Error::Absent)?;
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        let ready = Readable::new(socket.try_clone()?)?;
        Ok(Self {
            channel: Channel::from_socket(socket),
            ready,
        })
    }

    /// The greeting, which comes first.
    pub async fn greeting(&self) -> Result<Found, Pid1Error> {
        let Packet { message, files } = self.hear().await?;
        let Tell::Hello(hello) = message else {
            return Err(Pid1Error::NoHello);
        };
        if !(OLDEST..=VERSION).contains(&hello.version) {
            return Err(Pid1Error::Version {
                theirs: hello.version,
            });
        }
        let mut files = files.into_iter();
        let qemu = hello.qemu.and_then(|_| files.next());
        let kept = hello.kept.iter().cloned().zip(files).collect();
        Ok(Found { hello, qemu, kept })
    }

    /// Has a file kept for the supervisors to come, in place of one of that name.
    pub fn keep(&self, name: &str, file: BorrowedFd<'_>) -> Result<(), Pid1Error> {
        let name = name.to_owned();
        Ok(self.channel.send(&Ask::Keep { name }, &[file])?)
    }

    /// Everything that takes a privilege is done.
    pub fn settled(&self) -> Result<(), Pid1Error> {
        Ok(self.channel.send(&Ask::Settled, &[])?)
    }

    /// The VM is in hand.
    pub fn ready(&self) -> Result<(), Pid1Error> {
        Ok(self.channel.send(&Ask::Ready, &[])?)
    }

    /// Has `program` take the place of this one and of PID 1's; how that goes is told by [`Tell::Swap`].
    pub fn upgrade(&self, id: String, program: BorrowedFd<'_>) -> Result<(), Pid1Error> {
        Ok(self.channel.send(&Ask::Upgrade { id }, &[program])?)
    }

    /// The VM's end was seen and told. Whoever says it ends.
    pub fn done(&self, code: u8) -> Result<(), Pid1Error> {
        Ok(self.channel.send(&Ask::Done { code }, &[])?)
    }

    /// The next word from PID 1. Cancel-safe: a packet is taken whole or not at all.
    pub async fn hear(&self) -> Result<Packet<Tell>, ChannelError> {
        loop {
            let mut ready = self.ready.ready().await.map_err(|_| ChannelError::Closed)?;
            match self.channel.receive() {
                Err(ChannelError::Socket {
                    source: nix::errno::Errno::EAGAIN,
                    ..
                }) => ready.clear_ready(),
                heard => return heard,
            }
        }
    }

    /// Asks for QEMU; the answer is a [`Tell::Spawned`] or [`Tell::SpawnFailed`] from [`Self::hear`].
    pub fn spawn(&self, request: &SpawnRequest, files: &[OwnedFd]) -> Result<(), Pid1Error> {
        let memfd = memfd_create("spawn-request", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| Pid1Error::Request(errno.into()))?;
        let mut memfd = std::fs::File::from(memfd);
        // In one write: `to_writer` would make one for each word of it.
        let text = serde_json::to_vec(request).map_err(|error| Pid1Error::Request(error.into()))?;
        memfd.write_all(&text).map_err(Pid1Error::Request)?;
        let all: Vec<_> = [memfd.as_fd()]
            .into_iter()
            .chain(files.iter().map(AsFd::as_fd))
            .collect();
        for chunk in all.chunks(FILES_A_PACKET) {
            self.channel.send(&Ask::Files, chunk)?;
        }
        Ok(self.channel.send(&Ask::Spawn { version: VERSION }, &[])?)
    }
}

#[expect(unsafe_code, reason = "an inherited file is known by its number alone")]
fn inherited() -> Result<OwnedFd, nix::errno::Errno> {
    use nix::sys::socket::{SockType, getsockopt, sockopt};
    // SAFETY: PID 1 placed the socket at this number for this process, and this is the first and only place that
    // takes it; if there is none, or no socket, the check below says so before the number is used for anything.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(CHANNEL_FD) };
    match getsockopt(&socket, sockopt::SockType)? {
        // SAFETY: it is open and a packet socket: the one that PID 1 made for us.
        SockType::SeqPacket => Ok(unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) }),
        _ => Err(nix::errno::Errno::EPROTOTYPE),
    }
}

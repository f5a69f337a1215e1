//! Packets with open files beside them, over a `SOCK_SEQPACKET` pair.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// `SCM_MAX_FD` of the kernel (`include/net/scm.h`).
pub const FILES_A_PACKET: usize = 253;

/// No message but the memfd's content is longer.
const LONGEST_PACKET: usize = 16 * 1024;

/// What can go wrong between PID 1 and the supervisor.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side is gone.
    #[error("the other side of the channel is gone")]
    Closed,
    /// The socket failed.
    #[error("cannot {what} on the channel between PID 1 and the supervisor")]
    Socket {
        /// `send` or `receive`.
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// A packet that is no message.
    #[error("a packet on the channel between PID 1 and the supervisor is not a message")]
    Garbled(#[source] serde_json::Error),
}

/// One end of the pair.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// A message and the files beside it.
#[derive(Debug)]
pub struct Packet<T> {
    /// What was said.
    pub message: T,
    /// Open files, close-on-exec.
    pub files: Vec<OwnedFd>,
}

impl Channel {
    /// Both ends, close-on-exec.
    pub fn pair() -> Result<(Self, Self), Errno> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// The end that was inherited.
    pub fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// For `poll`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends one message with at most [`FILES_A_PACKET`] files.
    pub fn send(
        &self,
        message: &impl Serialize,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = serde_json::to_vec(message).map_err(ChannelError::Garbled)?;
        let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        let data = [IoSlice::new(&bytes)];
        loop {
            match sendmsg::<()>(
                self.socket.as_raw_fd(),
                &data,
                control,
                MsgFlags::MSG_NOSIGNAL,
                None,
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ChannelError::Closed),
                Err(source) => {
                    return Err(ChannelError::Socket {
                        what: "send",
                        source,
                    });
                }
            }
        }
    }

    /// Receives one message if there is one.
    pub fn try_receive<T: DeserializeOwned>(&self) -> Result<Option<Packet<T>>, ChannelError> {
        match self.receive_with(MsgFlags::MSG_DONTWAIT) {
            Ok(packet) => Ok(Some(packet)),
            Err(ChannelError::Socket {
                source: Errno::EAGAIN,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Receives one message; waits for it unless the socket is non-blocking.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Packet<T>, ChannelError> {
        self.receive_with(MsgFlags::empty())
    }

    fn receive_with<T: DeserializeOwned>(&self, more: MsgFlags) -> Result<Packet<T>, ChannelError> {
        let mut bytes = vec![0; LONGEST_PACKET];
        let mut control = cmsg_space!([RawFd; FILES_A_PACKET]);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let received = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | more;
            match recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut data,
                Some(&mut control),
                flags,
            ) {
                Ok(received) => break received,
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Err(ChannelError::Closed),
                Err(source) => {
                    return Err(ChannelError::Socket {
                        what: "receive",
                        source,
                    });
                }
            }
        };
        let length = received.bytes;
        let mut files = Vec::new();
        let messages = received.cmsgs().map_err(|source| ChannelError::Socket {
            what: "receive",
            source,
        })?;
        for message in messages {
            if let ControlMessageOwned::ScmRights(raw) = message {
                files.extend(raw.into_iter().map(own));
            }
        }
        if length == 0 {
            return Err(ChannelError::Closed);
        }
        let message = serde_json::from_slice(&bytes[..length]).map_err(ChannelError::Garbled)?;
        Ok(Packet { message, files })
    }
}

#[expect(unsafe_code, reason = "SCM_RIGHTS hands out raw numbers")]
fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this number for us in recvmsg and nobody else knows it; nix returns raw
    // numbers only, so there is no safe way to take ownership.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::protocol::{Ask, Tell};

    #[test]
    fn a_message_arrives_with_its_files() {
        let (a, b) = Channel::pair().unwrap();
        let files: Vec<_> = (0..FILES_A_PACKET)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        a.send(&Ask::Files, &borrowed).unwrap();
        let packet: Packet<Ask> = b.receive().unwrap();
        assert_eq!(packet.message, Ask::Files);
        assert_eq!(packet.files.len(), FILES_A_PACKET);
    }

    #[test]
    fn a_closed_end_is_told_from_garbage() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&"not a message", &[]).unwrap();
        assert!(matches!(b.receive::<Tell>(), Err(ChannelError::Garbled(_))));
        drop(a);
        assert!(matches!(b.receive::<Tell>(), Err(ChannelError::Closed)));
    }
}

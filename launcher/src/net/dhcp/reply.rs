//! A reply as a value, and on the wire.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{CLIENT_PORT, DhcpOption, Flags, Message, Opcode};
use dhcproto::{Encodable, Encoder, error::EncodeError};

use crate::net::mac::MacAddr;

/// BOOTP's least message in bytes (RFC 1542 2.1): older clients drop shorter ones.
const LEAST: usize = 300;

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Option 53, also first of `options`.
    pub kind: ReplyKind,
    /// The request's.
    pub xid: u32,
    /// The request's.
    pub flags: u16,
    /// The client's own address in an ACK.
    pub ciaddr: Ipv4Addr,
    /// The leased address; 0.0.0.0 in a NAK and in the ACK of an INFORM.
    pub yiaddr: Ipv4Addr,
    /// The TFTP server when it is known by address.
    pub siaddr: Ipv4Addr,
    /// The request's.
    pub giaddr: Ipv4Addr,
    /// The client.
    pub chaddr: MacAddr,
    /// Where it goes.
    pub destination: Destination,
    /// In the order of the wire.
    pub options: Vec<DhcpOption>,
}

/// What a server says (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of RFC 2131 3.1")]
pub enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

/// Where a reply goes, always to the client's port 68.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// 255.255.255.255 on the link.
    Broadcast,
    /// A client that has its address.
    Unicast(Ipv4Addr),
}

impl Destination {
    /// With the client's port.
    pub fn socket_address(self) -> SocketAddrV4 {
        let to = match self {
            Self::Broadcast => Ipv4Addr::BROADCAST,
            Self::Unicast(to) => to,
        };
        SocketAddrV4::new(to, CLIENT_PORT)
    }
}

impl Reply {
    /// The UDP payload. Fails only where an option has no form on the wire, which no planned one lacks.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        // The options go out in our order: the crate's own map would sort them by number.
        let mut header = Message::new_with_id(
            self.xid,
            self.ciaddr,
            self.yiaddr,
            self.siaddr,
            self.giaddr,
            &self.chaddr.0,
        );
        header
            .set_opcode(Opcode::BootReply)
            .set_flags(Flags::new(self.flags));
        let mut bytes = Vec::with_capacity(LEAST);
        let mut encoder = Encoder::new(&mut bytes);
        header.encode(&mut encoder)?;
        for option in &self.options {
            option.encode(&mut encoder)?;
        }
        DhcpOption::End.encode(&mut encoder)?;
        if bytes.len() < LEAST {
            bytes.resize(LEAST, 0);
        }
        Ok(bytes)
    }
}

//! A reply as a value, and on the wire.

use dhcproto::v6::{DhcpOption, DhcpOptions, Message, MessageType};
use dhcproto::{Encodable, error::EncodeError};

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The message's type.
    pub kind: ReplyKind,
    /// The request's.
    pub xid: [u8; 3],
    /// By number on the wire, of which RFC 8415 says nothing.
    pub options: Vec<DhcpOption>,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of RFC 8415 7.3")]
pub enum ReplyKind {
    Advertise,
    Reply,
}

impl Reply {
    /// The UDP payload. Fails only where an option has no form on the wire, which no planned one lacks.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let kind = match self.kind {
            ReplyKind::Advertise => MessageType::Advertise,
            ReplyKind::Reply => MessageType::Reply,
        };
        let mut message = Message::new_with_id(kind, self.xid);
        message.set_opts(self.options.iter().cloned().collect::<DhcpOptions>());
        message.to_vec()
    }
}

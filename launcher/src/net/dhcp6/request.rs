//! Bytes from the guest become a [`Request`], or a reason why they are ignored.
//!
//! The walk over the options is ours: every length is checked against what is there before anything is read, only
//! the few options that a server needs are kept, and of each no more than a bounded number.

use std::net::Ipv6Addr;

/// Type and transaction (RFC 8415 8).
const HEADER: usize = 4;
/// A DUID's type and at most 128 bytes (RFC 8415 11.1).
const DUID: std::ops::RangeInclusive<usize> = 3..=130;
/// A client asks for one of each kind; some retry with two. The reply to all of these is still one frame.
const MOST_ASSOCIATIONS: usize = 8;
const MOST_ADDRESSES: usize = 8;

/// Option codes (RFC 8415 24).
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_ADDR: u16 = 5;
const RAPID_COMMIT: u16 = 14;
const IA_PD: u16 = 25;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The message's type.
    pub kind: Kind,
    /// The client's number for this exchange.
    pub xid: [u8; 3],
    /// Option 1: the client's DUID.
    pub client_id: Option<Vec<u8>>,
    /// Option 2: the DUID of the server it speaks to.
    pub server_id: Option<Vec<u8>>,
    /// Option 14: it takes the address without another exchange.
    pub rapid_commit: bool,
    /// Options 3, 4 and 25, in their order.
    pub associations: Vec<Association>,
}

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of RFC 8415 7.3")]
pub enum Kind {
    Solicit,
    Request,
    Confirm,
    Renew,
    Rebind,
    Release,
    Decline,
    InformationRequest,
}

/// An identity association: one of the client's needs, by a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// What it wants.
    pub need: Need,
    /// The client's number of it.
    pub iaid: u32,
    /// The addresses that it has, or would like.
    pub addresses: Vec<Ipv6Addr>,
}

/// What an association is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// An address (IA_NA).
    Address,
    /// An address for a while (IA_TA).
    TemporaryAddress,
    /// A prefix to hand on (IA_PD).
    Prefix,
}

/// Why a datagram is no request for a DHCPv6 server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// The header does not fit.
    #[error("`{length}` bytes are fewer than a header")]
    Short {
        /// Bytes received.
        length: usize,
    },
    /// A message that only servers and relays send, or one of another protocol.
    #[error("message type `{kind}` is not one that a client sends")]
    UnknownKind {
        /// The first byte.
        kind: u8,
    },
    /// An option is longer than what is left, or what is left is no option.
    #[error("an option is cut short, `{left}` bytes before the end")]
    Truncated {
        /// From where it begins.
        left: usize,
    },
    /// An option has a length that it cannot have.
    #[error("option `{code}` has `{length}` bytes")]
    BadLength {
        /// Its code.
        code: u16,
        /// Its length.
        length: usize,
    },
    /// An option that may stand once is there again.
    #[error("option `{code}` is there twice")]
    Repeated {
        /// Its code.
        code: u16,
    },
    /// More than any client has.
    #[error("there are too many options `{code}`")]
    TooMany {
        /// Their code.
        code: u16,
    },
}

impl Request {
    /// Reads one UDP payload. Never panics; allocates no more than a small multiple of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Ignored> {
        let (&[kind, x, y, z], options) =
            bytes.split_first_chunk::<HEADER>().ok_or(Ignored::Short {
                length: bytes.len(),
            })?;
        let mut request = Self {
            kind: Kind::read(kind)?,
            xid: [x, y, z],
            client_id: None,
            server_id: None,
            rapid_commit: false,
            associations: Vec::new(),
        };
        for option in Options(options) {
            let (code, value) = option?;
            request.take(code, value)?;
        }
        Ok(request)
    }

    fn take(&mut self, code: u16, value: &[u8]) -> Result<(), Ignored> {
        match code {
            CLIENT_ID => once(&mut self.client_id, duid(code, value)?, code)?,
            SERVER_ID => once(&mut self.server_id, duid(code, value)?, code)?,
            RAPID_COMMIT => self.rapid_commit = true,
            IA_NA | IA_TA | IA_PD => {
                if self.associations.len() == MOST_ASSOCIATIONS {
                    return Err(Ignored::TooMany { code });
                }
                self.associations.push(Association::read(code, value)?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Kind {
    fn read(byte: u8) -> Result<Self, Ignored> {
        Ok(match byte {
            1 => Self::Solicit,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            8 => Self::Release,
            9 => Self::Decline,
            11 => Self::InformationRequest,
            kind => return Err(Ignored::UnknownKind { kind }),
        })
    }
}

impl Association {
    fn read(code: u16, value: &[u8]) -> Result<Self, Ignored> {
        // RFC 8415 21.4, 21.5, 21.21: the number, two times but for IA_TA, options.
        let (need, fixed) = match code {
            IA_TA => (Need::TemporaryAddress, 4),
            IA_NA => (Need::Address, 12),
            _ => (Need::Prefix, 12),
        };
        let bad = Ignored::BadLength {
            code,
            length: value.len(),
        };
        let (fixed, options) = value.split_at_checked(fixed).ok_or(bad)?;
        let iaid = fixed.first_chunk().copied().ok_or(bad)?;
        let mut addresses = Vec::new();
        for option in Options(options) {
            let (code, value) = option?;
            if code != IA_ADDR {
                continue;
            }
            // RFC 8415 21.6: the address, two times, options.
            let (address, rest) = value.split_first_chunk::<16>().ok_or(Ignored::BadLength {
                code,
                length: value.len(),
            })?;
            if rest.len() < 8 {
                return Err(Ignored::BadLength {
                    code,
                    length: value.len(),
                });
            }
            if addresses.len() == MOST_ADDRESSES {
                return Err(Ignored::TooMany { code });
            }
            addresses.push(Ipv6Addr::from(*address));
        }
        Ok(Self {
            need,
            iaid: u32::from_be_bytes(iaid),
            addresses,
        })
    }
}

/// Code and value of each option: two bytes each for code and length (RFC 8415 21.1).
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Ignored>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = std::mem::take(&mut self.0);
        if field.is_empty() {
            return None;
        }
        let split = field
            .split_first_chunk::<4>()
            .and_then(|(&[a, b, c, d], rest)| {
                let length = u16::from_be_bytes([c, d]);
                let (value, rest) = rest.split_at_checked(length.into())?;
                Some((u16::from_be_bytes([a, b]), value, rest))
            });
        match split {
            Some((code, value, rest)) => {
                self.0 = rest;
                Some(Ok((code, value)))
            }
            None => Some(Err(Ignored::Truncated { left: field.len() })),
        }
    }
}

fn duid(code: u16, value: &[u8]) -> Result<Vec<u8>, Ignored> {
    let length = value.len();
    if DUID.contains(&length) {
        Ok(value.to_vec())
    } else {
        Err(Ignored::BadLength { code, length })
    }
}

fn once<T>(slot: &mut Option<T>, value: T, code: u16) -> Result<(), Ignored> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Ignored::Repeated { code }),
    }
}

//! Bytes from the guest become a [`Request`], or a reason why they are ignored.
//!
//! The walk over the options is ours: every length is checked against what is there before anything is read, only
//! the few options that a server needs are kept, and nothing grows beyond the datagram.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::net::mac::MacAddr;

/// The fixed part of RFC 2131 2, up to and with the magic cookie of RFC 2132 2.
const HEADER: usize = 240;
/// `sname` and `file`, which option 52 turns into more room for options.
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const BOOTREQUEST: u8 = 1;
const ETHERNET: u8 = 1;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Option 53.
    pub kind: Kind,
    /// The client's number for this exchange.
    pub xid: u32,
    /// As sent; the top bit asks for broadcast replies.
    pub flags: u16,
    /// The address that the client has and answers ARP for; 0.0.0.0 when none.
    pub ciaddr: Ipv4Addr,
    /// A relay's address; never a destination for us, for no relay stands on this link.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: MacAddr,
    /// Option 50: the address it would like.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server whose offer it takes.
    pub server_id: Option<Ipv4Addr>,
    /// Option 61, to be sent back (RFC 6842).
    pub client_id: Option<Vec<u8>>,
    /// Option 55: the options it wants.
    pub parameters: Vec<u8>,
    /// Option 57: the longest IP datagram that it takes, in bytes.
    pub max_size: Option<u16>,
}

/// What a client sends (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of RFC 2131 3.1")]
pub enum Kind {
    Discover,
    Request,
    Decline,
    Release,
    Inform,
}

/// Why a datagram is no request for a DHCP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// The header does not fit.
    #[error("`{length}` bytes are fewer than a header")]
    Short {
        /// Bytes received.
        length: usize,
    },
    /// A server's message, or nonsense.
    #[error("operation `{op}` is not a request")]
    NotARequest {
        /// The first byte.
        op: u8,
    },
    /// Not Ethernet.
    #[error("hardware type `{htype}` with `{hlen}` address bytes is not ethernet")]
    Hardware {
        /// `htype`.
        htype: u8,
        /// `hlen`.
        hlen: u8,
    },
    /// BOOTP (RFC 951): another cookie, or no option 53. A lease cannot be given to such a client.
    #[error("bootp is not served")]
    Bootp,
    /// An option is longer than what is left.
    #[error("option `{code}` is cut short")]
    Truncated {
        /// Its code.
        code: u8,
    },
    /// An option of fixed length has another one.
    #[error("option `{code}` has `{length}` bytes")]
    BadLength {
        /// Its code.
        code: u8,
        /// Its length, all its parts together.
        length: usize,
    },
    /// A message that only servers send, or one of another protocol.
    #[error("message type `{kind}` is not one that a client sends")]
    UnknownKind {
        /// Option 53.
        kind: u8,
    },
}

impl Request {
    /// Reads one UDP payload. Never panics; allocates no more than a small multiple of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Ignored> {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(Ignored::Short {
            length: bytes.len(),
        })?;
        let [op, htype, hlen, ..] = *header;
        if op != BOOTREQUEST {
            return Err(Ignored::NotARequest { op });
        }
        if (htype, hlen) != (ETHERNET, 6) {
            return Err(Ignored::Hardware { htype, hlen });
        }
        if array::<4>(header, 236) != MAGIC {
            return Err(Ignored::Bootp);
        }
        let options = Options::read(header, &bytes[HEADER..])?;
        Ok(Self {
            kind: options.kind()?,
            xid: u32::from_be_bytes(array(header, 4)),
            flags: u16::from_be_bytes(array(header, 10)),
            ciaddr: array::<4>(header, 12).into(),
            giaddr: array::<4>(header, 24).into(),
            chaddr: MacAddr(array(header, 28)),
            requested: options.fixed::<4>(50)?.map(Ipv4Addr::from),
            server_id: options.fixed::<4>(54)?.map(Ipv4Addr::from),
            client_id: options.bytes(61).map(<[u8]>::to_vec),
            parameters: options.bytes(55).unwrap_or_default().to_vec(),
            max_size: options.fixed::<2>(57)?.map(u16::from_be_bytes),
        })
    }
}

/// `N` bytes of the header from `at`, which every caller gives as a constant within it.
fn array<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

/// The options that matter to us, the parts of one that came in several joined (RFC 3396).
#[derive(Default)]
struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    fn read(header: &[u8; HEADER], field: &[u8]) -> Result<Self, Ignored> {
        let mut options = Self::default();
        options.walk(field)?;
        // RFC 2131 4.1: the options field first, then `file`, then `sname`.
        let [overload] = options.fixed(52)?.unwrap_or([0]);
        if overload & 1 != 0 {
            options.walk(&header[FILE])?;
        }
        if overload & 2 != 0 {
            options.walk(&header[SNAME])?;
        }
        Ok(options)
    }

    /// Up to option 255; some clients leave it out, so the end of the field will do.
    fn walk(&mut self, mut field: &[u8]) -> Result<(), Ignored> {
        const PAD: u8 = 0;
        const END: u8 = 255;
        while let Some((&code, rest)) = field.split_first() {
            match code {
                PAD => field = rest,
                END => break,
                _ => {
                    let truncated = Ignored::Truncated { code };
                    let (&length, rest) = rest.split_first().ok_or(truncated)?;
                    let (value, rest) = rest.split_at_checked(length.into()).ok_or(truncated)?;
                    if matches!(code, 50 | 52..=55 | 57 | 61) {
                        self.0.entry(code).or_default().extend_from_slice(value);
                    }
                    field = rest;
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, code: u8) -> Option<&[u8]> {
        self.0
            .get(&code)
            .map(Vec::as_slice)
            .filter(|value| !value.is_empty())
    }

    fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Ignored> {
        let Some(value) = self.0.get(&code) else {
            return Ok(None);
        };
        let length = value.len();
        <[u8; N]>::try_from(value.as_slice())
            .map(Some)
            .map_err(|_| Ignored::BadLength { code, length })
    }

    fn kind(&self) -> Result<Kind, Ignored> {
        match self.fixed(53)?.ok_or(Ignored::Bootp)? {
            [1] => Ok(Kind::Discover),
            [3] => Ok(Kind::Request),
            [4] => Ok(Kind::Decline),
            [7] => Ok(Kind::Release),
            [8] => Ok(Kind::Inform),
            [kind] => Err(Ignored::UnknownKind { kind }),
        }
    }
}

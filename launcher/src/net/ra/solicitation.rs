//! Bytes from the guest become a [`Solicitation`], or a reason why they are ignored (RFC 4861 6.1.1).

use std::net::Ipv6Addr;

/// ICMPv6 type (RFC 4861 4.1).
pub(super) const ROUTER_SOLICITATION: u8 = 133;
/// No router has forwarded it, so it is from the link.
pub(super) const HOP_LIMIT: u8 = 255;
/// Type, code, checksum and four reserved bytes.
const HEADER: usize = 8;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// A host asks for an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// Its link-local address, to be answered at; none while it has none.
    pub from: Option<Ipv6Addr>,
}

/// Why a message is no valid solicitation. The kernel has checked the checksum (RFC 3542 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Another ICMPv6 message.
    #[error("type `{kind}` with code `{code}` is no router solicitation")]
    OtherMessage {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// The header does not fit.
    #[error("`{length}` bytes are fewer than a header")]
    Short {
        /// Bytes received.
        length: usize,
    },
    /// It may come from beyond the link.
    #[error(
        "hop limit `{}` is not {HOP_LIMIT}",
        .hop_limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string())
    )]
    HopLimit {
        /// The IP header's; none if the kernel did not say.
        hop_limit: Option<u8>,
    },
    /// Neither the guest's own link-local address nor none.
    #[error("`{source_address}` is not an address of the link")]
    NotOnLink {
        /// The IP header's source.
        source_address: Ipv6Addr,
    },
    /// An option of length 0, or longer than what is left.
    #[error("option `{code}` has a length that it cannot have")]
    BadOption {
        /// Its type.
        code: u8,
    },
    /// Nobody can be behind a link-layer address who has no address.
    #[error("a link-layer address comes without an address")]
    Anonymous,
}

impl Solicitation {
    /// Reads one ICMPv6 message with what the IP header said. Never panics and never allocates.
    pub fn parse(bytes: &[u8], source: Ipv6Addr, hop_limit: Option<u8>) -> Result<Self, Ignored> {
        let (&[kind, code, ..], mut options) =
            bytes.split_first_chunk::<HEADER>().ok_or(Ignored::Short {
                length: bytes.len(),
            })?;
        if (kind, code) != (ROUTER_SOLICITATION, 0) {
            return Err(Ignored::OtherMessage { kind, code });
        }
        if hop_limit != Some(HOP_LIMIT) {
            return Err(Ignored::HopLimit { hop_limit });
        }
        let unspecified = source.is_unspecified();
        if !unspecified && !source.is_unicast_link_local() {
            return Err(Ignored::NotOnLink {
                source_address: source,
            });
        }
        while let Some(&code) = options.first() {
            let length = options.get(1).map_or(0, |&units| usize::from(units) * 8);
            if length == 0 || length > options.len() {
                return Err(Ignored::BadOption { code });
            }
            if code == SOURCE_LINK_LAYER_ADDRESS && unspecified {
                return Err(Ignored::Anonymous);
            }
            options = &options[length..];
        }
        Ok(Self {
            from: (!unspecified).then_some(source),
        })
    }
}

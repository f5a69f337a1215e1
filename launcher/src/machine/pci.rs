//! PCI addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `domain:bus:slot.function`, written `0000:81:01.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    /// Segment.
    pub domain: u16,
    /// Bus number.
    pub bus: u8,
    /// 0 to 31.
    pub slot: u8,
    /// 0 to 7.
    pub function: u8,
}

/// Not a PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a PCI address such as `0000:81:01.0`")]
pub struct BadPciAddress {
    /// What was given.
    pub text: String,
}

impl FromStr for PciAddress {
    type Err = BadPciAddress;

    fn from_str(text: &str) -> Result<Self, BadPciAddress> {
        let hex = |part: &str, digits: usize, most: u16| {
            let fits = !part.is_empty()
                && part.len() <= digits
                && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            fits.then(|| u16::from_str_radix(part, 16).ok())
                .flatten()
                .filter(|value| *value <= most)
        };
        let parse = || {
            let (rest, function) = text.rsplit_once('.')?;
            let (rest, slot) = rest.rsplit_once(':')?;
            let (domain, bus) = rest.rsplit_once(':')?;
            Some(Self {
                domain: hex(domain, 4, u16::MAX)?,
                bus: u8::try_from(hex(bus, 2, 0xff)?).ok()?,
                slot: u8::try_from(hex(slot, 2, 31)?).ok()?,
                function: u8::try_from(hex(function, 1, 7)?).ok()?,
            })
        };
        parse().ok_or_else(|| BadPciAddress {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.slot, self.function
        )
    }
}

impl TryFrom<String> for PciAddress {
    type Error = BadPciAddress;

    fn try_from(text: String) -> Result<Self, BadPciAddress> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

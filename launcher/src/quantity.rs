//! Kubernetes quantities (`1.5Gi`, `2e3`, `500m`), exactly.

use std::fmt;
use std::str::FromStr;

use hugepages::Bytes;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number as Kubernetes writes it: sign, decimal digits, and a suffix or decimal exponent.
///
/// Its value is `digits * 10^decimal * 2^binary`, with nothing rounded before it is asked for in a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    text: String,
    negative: bool,
    digits: u128,
    decimal: i32,
    binary: u32,
}

/// Why a text is no quantity, or a quantity no count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the grammar.
    #[error("`{text}` is not a quantity")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// A number followed by letters that are no suffix.
    #[error("`{text}` is not a quantity: there is no suffix `{suffix}`")]
    Suffix {
        /// What was given.
        text: String,
        /// The part after the number.
        suffix: String,
    },
    /// More significant digits than are kept.
    #[error("`{text}` has more than {MOST_DIGITS} significant digits")]
    TooPrecise {
        /// What was given.
        text: String,
    },
    /// Below zero, where a count was asked for.
    #[error("`{text}` is negative")]
    Negative {
        /// What was given.
        text: String,
    },
    /// More than 2^63-1, Kubernetes' own bound.
    #[error("`{text}` is more than 2^63-1")]
    Overflow {
        /// What was given.
        text: String,
    },
}

/// 10^20 * 2^60 still fits 128 bits.
const MOST_DIGITS: usize = 20;

/// Suffix, power of ten, power of two.
const SUFFIXES: [(&str, i32, u32); 16] = [
    ("", 0, 0),
    ("n", -9, 0),
    ("u", -6, 0),
    ("m", -3, 0),
    ("k", 3, 0),
    ("M", 6, 0),
    ("G", 9, 0),
    ("T", 12, 0),
    ("P", 15, 0),
    ("E", 18, 0),
    ("Ki", 0, 10),
    ("Mi", 0, 20),
    ("Gi", 0, 30),
    ("Ti", 0, 40),
    ("Pi", 0, 50),
    ("Ei", 0, 60),
];

impl QuantityError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Suffix { text, suffix } => meant(text, suffix).map_or_else(
                || EXAMPLES.to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            ),
            Self::Syntax { .. } | Self::TooPrecise { .. } => EXAMPLES.to_owned(),
            Self::Negative { .. } => "give zero or more".to_owned(),
            Self::Overflow { .. } => "give less".to_owned(),
        }
    }
}

const EXAMPLES: &str = "write a Kubernetes quantity such as `512Mi`, `1.5Gi`, `2e9` or `500m`";

/// `512MB` and `512 Mi` are slips for `512Mi`.
fn meant(text: &str, suffix: &str) -> Option<String> {
    let number = text.strip_suffix(suffix)?.trim();
    let word = suffix.trim();
    if SUFFIXES.iter().any(|(known, ..)| *known == word) {
        return Some(format!("{number}{word}"));
    }
    let unit = word.chars().next()?.to_ascii_uppercase();
    "KMGTP".contains(unit).then(|| format!("{number}{unit}i"))
}

impl Quantity {
    /// The value in whole units, rounded up as Kubernetes does.
    ///
    /// # Errors
    /// [`QuantityError::Negative`], [`QuantityError::Overflow`].
    pub fn value(&self) -> Result<u64, QuantityError> {
        self.scaled(0)
    }

    /// The value in thousandths, rounded up.
    ///
    /// # Errors
    /// [`QuantityError::Negative`], [`QuantityError::Overflow`].
    pub fn milli_value(&self) -> Result<u64, QuantityError> {
        self.scaled(3)
    }

    /// The value in bytes, rounded up.
    ///
    /// # Errors
    /// [`QuantityError::Negative`], [`QuantityError::Overflow`].
    pub fn to_bytes(&self) -> Result<Bytes, QuantityError> {
        self.value().map(Bytes)
    }

    /// Whether it was written with `m`, `u` or `n`: for a size nearly always a slip for `Mi`.
    pub fn is_in_fractions(&self) -> bool {
        self.text.ends_with(['m', 'u', 'n'])
    }

    fn scaled(&self, power_of_ten: i32) -> Result<u64, QuantityError> {
        if self.digits == 0 {
            return Ok(0);
        }
        if self.negative {
            return Err(QuantityError::Negative {
                text: self.text.clone(),
            });
        }
        round_up(
            self.digits << self.binary,
            self.decimal.saturating_add(power_of_ten),
        )
        .filter(|value| *value <= i64::MAX.unsigned_abs())
        .ok_or_else(|| QuantityError::Overflow {
            text: self.text.clone(),
        })
    }
}

/// `number * 10^power`, rounded up; none when it does not fit.
fn round_up(number: u128, power: i32) -> Option<u64> {
    let scale = 10_u128.checked_pow(power.unsigned_abs());
    let value = if power >= 0 {
        number.checked_mul(scale?)?
    } else {
        // A divisor beyond 128 bits is above every number: the quotient rounds up to one.
        scale.map_or(1, |divisor| number.div_ceil(divisor))
    };
    u64::try_from(value).ok()
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let syntax = || QuantityError::Syntax {
            text: text.to_owned(),
        };
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(syntax());
        }
        let (power, binary) = suffix_powers(suffix).ok_or_else(|| QuantityError::Suffix {
            text: text.to_owned(),
            suffix: suffix.to_owned(),
        })?;
        let (digits, shift) = significant(whole, fraction).ok_or(QuantityError::TooPrecise {
            text: text.to_owned(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            negative: text.starts_with('-'),
            digits,
            decimal: power.saturating_add(shift),
            binary,
        })
    }
}

/// The powers of ten and two that a suffix or exponent stands for.
fn suffix_powers(suffix: &str) -> Option<(i32, u32)> {
    if let Some((_, ten, two)) = SUFFIXES.iter().find(|(name, ..)| *name == suffix) {
        return Some((*ten, *two));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent too long for i32 is beyond every bound that follows.
    let power = digits.parse::<i32>().unwrap_or(i32::MAX);
    Some((
        if exponent.starts_with('-') {
            -power
        } else {
            power
        },
        0,
    ))
}

/// Digits without leading and trailing zeros, and the power of ten they are to be multiplied by.
fn significant(whole: &str, fraction: &str) -> Option<(u128, i32)> {
    let all = format!("{whole}{fraction}");
    let kept = all.trim_end_matches('0');
    let dropped = i32::try_from(all.len() - kept.len()).ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let digits = kept.trim_start_matches('0');
    if digits.is_empty() {
        return Some((0, 0));
    }
    if digits.len() > MOST_DIGITS {
        return None;
    }
    Some((digits.parse().ok()?, dropped - places))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// From a string, or from a number as JSON and YAML have it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
            // The shortest decimal that reads back as this number: `0.1` stays `0.1`.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests;

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
            Self::Suffix { text, suffix } => {
                let unit = suffix
                    .chars()
                    .next()
                    .map(|letter| letter.to_ascii_uppercase())
                    .filter(|letter| "KMGTPE".contains(*letter));
                match (unit, text.strip_suffix(suffix.as_str())) {
                    (Some(unit), Some(number)) => {
                        format!("did you mean `{number}{unit}i`?")
                    }
                    _ => EXAMPLES.to_owned(),
                }
            }
            Self::Syntax { .. } | Self::TooPrecise { .. } => EXAMPLES.to_owned(),
            Self::Negative { .. } => "give zero or more".to_owned(),
            Self::Overflow { .. } => "give less".to_owned(),
        }
    }
}

const EXAMPLES: &str = "write a Kubernetes quantity such as `512Mi`, `1.5Gi`, `2e9` or `500m`";

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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<Quantity>().unwrap().to_bytes().unwrap().0
    }

    #[test]
    fn every_form_has_its_exact_value() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("0e999999999999", 0),
            ("1", 1),
            ("+1", 1),
            ("1.", 1),
            (".5", 1),
            ("0.1", 1),
            ("500m", 1),
            ("1500m", 2),
            ("1n", 1),
            ("1000000000n", 1),
            ("2e3", 2000),
            ("2E3", 2000),
            ("2e+3", 2000),
            ("25e-1", 3),
            ("1e-999999999", 1),
            ("1k", 1000),
            ("1M", 1_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("0.5Ki", 512),
            ("0.0001Ki", 1),
            ("7Ei", 7 << 60),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("9223372036854775807", 9_223_372_036_854_775_807),
            ("000000000000000000000000000000001", 1),
            ("1000000000000000000000000000000e-30", 1),
        ] {
            assert_eq!(bytes(text), value, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", " ", "1 Gi", " 1", "1 ", "Gi", ".", "1.2.3", "--1", "+-1", "1e", "1e1.5", "1e1k",
            "1K", "1g", "1Mi ", "0x10", "1_000", "NaN", "inf", "1MB", "1GiB", "１",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_slip_in_the_suffix_is_answered_with_the_right_one() {
        for (text, hint) in [
            ("512MB", "512Mi"),
            ("4gb", "4Gi"),
            ("1K", "1Ki"),
            ("2GiB", "2Gi"),
        ] {
            let error = text.parse::<Quantity>().unwrap_err();
            assert_eq!(error.hint(), format!("did you mean `{hint}`?"));
        }
    }

    #[test]
    fn bounds_are_refused_by_name() {
        for text in [
            "8Ei",
            "9223372036854775808",
            "1e19",
            "1e2147483648",
            "99999999999999999999Ei",
        ] {
            assert!(
                matches!(
                    text.parse::<Quantity>().unwrap().to_bytes(),
                    Err(QuantityError::Overflow { .. })
                ),
                "{text}"
            );
        }
        assert!(matches!(
            "-1Mi".parse::<Quantity>().unwrap().to_bytes(),
            Err(QuantityError::Negative { .. })
        ));
        assert!(matches!(
            "123456789012345678901".parse::<Quantity>(),
            Err(QuantityError::TooPrecise { .. })
        ));
    }

    #[test]
    fn numbers_are_read_as_well_as_strings() {
        for (json, value) in [
            ("\"1Gi\"", 1 << 30),
            ("1024", 1024),
            ("1e3", 1000),
            ("0.1", 1),
            ("1.5", 2),
        ] {
            let quantity: Quantity = serde_json::from_str(json).unwrap();
            assert_eq!(quantity.value().unwrap(), value, "{json}");
        }
        assert!(serde_json::from_str::<Quantity>("true").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,2}[-+]?[0-9]{0,12}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                let _ = quantity.value();
                let _ = quantity.milli_value();
                prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
            }
        }

        #[test]
        fn whole_numbers_are_themselves(number in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(bytes(&number.to_string()), number);
        }

        #[test]
        fn thousandths_round_up(thousandths in 0..u64::from(u32::MAX)) {
            prop_assert_eq!(bytes(&format!("{thousandths}m")), thousandths.div_ceil(1000));
            let quantity: Quantity = format!("{thousandths}m").parse().unwrap();
            prop_assert_eq!(quantity.milli_value().unwrap(), thousandths);
        }

        #[test]
        fn binary_suffixes_are_shifts(number in 0..u64::from(u32::MAX), index in 10_usize..13) {
            let (suffix, _, shift) = SUFFIXES[index];
            prop_assert_eq!(bytes(&format!("{number}{suffix}")), number << shift);
        }

        #[test]
        fn an_exponent_is_as_many_zeros(number in 0..1_000_000_u64, zeros in 0_usize..12) {
            prop_assert_eq!(bytes(&format!("{number}e{zeros}")), bytes(&format!("{number}{}", "0".repeat(zeros))));
        }
    }
}

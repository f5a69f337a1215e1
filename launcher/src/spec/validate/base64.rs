//! Base64 as Kubernetes' API takes it: the standard alphabet, padded, broken into lines or not.

use ::base64::Engine;
use ::base64::prelude::BASE64_STANDARD;

/// The bytes; none when it is not base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let joined: String = text
        .chars()
        .filter(|letter| !matches!(letter, '\r' | '\n'))
        .collect();
    BASE64_STANDARD.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_padding_is_wanted() {
        assert_eq!(decode("aGVs\nbG8=\n").unwrap(), b"hello");
        for text in ["aGVsbG8", "aGV sbG8=", "!!!!", "aGVsbG8-"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}

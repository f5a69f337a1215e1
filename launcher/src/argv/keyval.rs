//! QEMU's `key=value` syntax.

use crate::machine::device::KeyValues;

/// A value as it stands between commas: a comma of its own is doubled.
pub fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// `head,key=value,...`.
pub fn render(option: &KeyValues) -> String {
    let head = option.head.as_deref().map(escape);
    let pairs = option
        .pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", escape(value)));
    let parts: Vec<_> = head.into_iter().chain(pairs).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As QEMU's `get_opt_value` reads: a doubled comma is one, a single one ends the value.
    fn unescape(text: &str) -> (String, &str) {
        let mut value = String::new();
        let mut rest = text;
        loop {
            let Some(comma) = rest.find(',') else {
                value.push_str(rest);
                return (value, "");
            };
            value.push_str(&rest[..comma]);
            rest = &rest[comma + 1..];
            match rest.strip_prefix(',') {
                Some(after) => {
                    value.push(',');
                    rest = after;
                }
                None => return (value, rest),
            }
        }
    }

    proptest! {
        #[test]
        fn values_come_back_whatever_they_hold(first in ".*", second in "[,a=]*") {
            let option = KeyValues::new()
                .with("first", first.clone())
                .with("second", second.clone())
                .with("last", "x");
            let text = render(&option);
            let (value, rest) = unescape(text.strip_prefix("first=").unwrap());
            prop_assert_eq!(value, first);
            let (value, rest) = unescape(rest.strip_prefix("second=").unwrap());
            prop_assert_eq!(value, second);
            prop_assert_eq!(rest, "last=x");
        }
    }

    #[test]
    fn the_head_stands_alone() {
        let option = KeyValues::headed("q35").with("usb", "off");
        assert_eq!(render(&option), "q35,usb=off");
    }
}

//! Text from QEMU, which a guest may have chosen, made harmless for a terminal.

/// Characters that move the cursor, change the terminal's state, or reorder what is read.
fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{061c}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// One line of plain text: harmful characters become `\n`, `\x1b`, `\u{202e}`.
pub fn text(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for letter in raw.chars() {
        match letter {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            letter if !is_harmful(letter) => safe.push(letter),
            letter if letter.is_ascii() => safe.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => safe.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
        }
    }
    safe
}

/// Lines of plain text, each made harmless by itself.
pub fn lines(raw: &str) -> String {
    let lines: Vec<String> = raw.split('\n').map(text).collect();
    lines.join("\n")
}

/// JSON text that stays the same JSON: what serde leaves raw becomes `\u009b`. Harmful characters can only
/// be inside its strings, but for the line ends between its lines.
pub fn json(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for letter in raw.chars() {
        if letter == '\n' || !is_harmful(letter) {
            safe.push(letter);
            continue;
        }
        let mut units = [0; 2];
        for unit in letter.encode_utf16(&mut units) {
            safe.push_str(&format!("\\u{unit:04x}"));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_drives_a_terminal_is_shown_and_not_done() {
        assert_eq!(
            text("a\u{1b}[2Jb\nc\u{9b}m\u{202e}d\u{7f}é"),
            "a\\x1b[2Jb\\nc\\u{9b}m\\u{202e}d\\x7fé"
        );
    }

    proptest! {
        #[test]
        fn escaped_json_is_the_same_json(words in prop::collection::vec(".{0,16}", 0..4)) {
            let value = Value::from(words);
            for text in [value.to_string(), format!("{value:#}")] {
                let safe = json(&text);
                prop_assert!(!safe.chars().any(|letter| letter != '\n' && is_harmful(letter)));
                prop_assert_eq!(serde_json::from_str::<Value>(&safe).expect("JSON"), value.clone());
            }
        }
    }
}

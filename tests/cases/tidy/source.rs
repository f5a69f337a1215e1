//! Enough of Rust's surface to look at code without its comments, its text literals and its tests.

/// What is left of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    /// Comments, literals and what is under `#[cfg(test)]` are blank; lines keep their numbers.
    pub(crate) text: String,
    /// Text literals outside tests, with the line each begins on.
    pub(crate) literals: Vec<(usize, String)>,
    /// Modules that are declared under `#[cfg(test)]` and live in files of their own.
    pub(crate) test_modules: Vec<String>,
}

impl Code {
    pub(crate) fn read(source: &str) -> Self {
        let (mut text, literals) = blank(source);
        let mut test_modules = Vec::new();
        let mut hidden = Vec::new();
        let mut from = 0;
        while let Some(found) = text[from..].find("#[cfg(test)]") {
            let start = from + found;
            let end = item_end(&text, start);
            let item = &text[start..end];
            if let Some((_, name)) = item.trim_end_matches(';').rsplit_once("mod ")
                && item.ends_with(';')
            {
                test_modules.push(name.trim().to_owned());
            }
            hidden.push(start..end);
            from = end;
        }
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        let kept = literals
            .into_iter()
            .filter(|(offset, _)| !hidden.iter().any(|range| range.contains(offset)))
            .map(|(offset, literal)| (line_of(offset), literal))
            .collect();
        for range in hidden {
            let lines: String = text[range.clone()]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' })
                .collect();
            text.replace_range(range, &lines);
        }
        Self {
            text,
            literals: kept,
            test_modules,
        }
    }

    /// Lines on which `word` stands by itself: neither end goes on as an identifier.
    pub(crate) fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.text
            .lines()
            .enumerate()
            .filter(move |(_, line)| has_word(line, word))
            .map(|(index, _)| index + 1)
    }
}

/// Whether `word` stands in `line` with no identifier going on at either end.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !goes_on(line[..at].chars().next_back()) && !goes_on(line[at + word.len()..].chars().next())
    })
}

/// Where the item that an attribute at `start` belongs to ends: its `;`, or the brace that closes it.
fn item_end(text: &str, start: usize) -> usize {
    let mut depth = 0_u32;
    for (offset, c) in text[start..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return start + offset + 1;
                }
            }
            ';' if depth == 0 => return start + offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The source with comments and literals blanked byte for byte, and the text literals by offset.
fn blank(source: &str) -> (String, Vec<(usize, String)>) {
    let bytes = source.as_bytes();
    let mut kept = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let word_before =
            at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let (length, literal) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), None)
        } else if let Some(raw) = (!word_before).then(|| raw_literal(rest)).flatten() {
            raw
        } else if rest.starts_with('"') {
            quoted(rest)
        } else if rest.starts_with('\'') {
            (character(rest), None)
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        if let Some(literal) = literal {
            literals.push((at, literal));
        }
        for byte in &mut kept[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    let kept = String::from_utf8(kept).expect("whole characters were blanked");
    (kept, literals)
}

/// `r"..."`, `r#"..."#`, `br"..."`: length and content.
fn raw_literal(rest: &str) -> Option<(usize, Option<String>)> {
    let after = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = content.find(&close).unwrap_or(content.len());
    let before = rest.len() - content.len();
    let length = (before + end + close.len()).min(rest.len());
    Some((length, Some(content[..end].to_owned())))
}

/// `"..."` with escapes: length and content, escapes as written.
fn quoted(rest: &str) -> (usize, Option<String>) {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return (offset + 1, Some(rest[1..offset].to_owned())),
            _ => {}
        }
    }
    (rest.len(), None)
}

/// A character literal's length, or 1 for the tick of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[2..]
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == '\'')
            .map_or(1, |(offset, _)| 2 + offset + 1),
        Some(_) => match chars.next() {
            Some((offset, '\'')) => offset + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[test]
fn comments_literals_and_tests_are_blank() {
    let code = Code::read(
        "fn a<'x>(c: char) -> &'x str { /* unsafe */ if c == '\"' || c == '\\'' { r#\"un\"safe\"# } else { \"/sys/x\" } } // async\n\
         #[cfg(test)]\nmod far;\n#[cfg(test)]\nmod tests { fn b() { unsafe { \"/proc\" } } }\nfn unsafer() { \"/dev/y\" }\n",
    );
    assert_eq!(code.lines_with("unsafe").count(), 0, "{}", code.text);
    assert_eq!(code.lines_with("async").count(), 0);
    assert_eq!(code.lines_with("unsafer").collect::<Vec<_>>(), [6]);
    assert_eq!(
        code.literals,
        [
            (1, "un\"safe".to_owned()),
            (1, "/sys/x".to_owned()),
            (6, "/dev/y".to_owned())
        ]
    );
    assert_eq!(code.test_modules, ["far"]);
}

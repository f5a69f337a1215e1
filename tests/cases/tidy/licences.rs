//! Under which licences the crates are that we are built from.

/// Licences whose terms a binary can keep by naming them.
pub(crate) const ALLOWED: &[&str] = &["Apache-2.0", "BSD-3-Clause", "MIT", "Unicode-3.0", "Zlib"];

/// Each crate whose licence is not allowed: `(name, SPDX expression)`.
pub(crate) fn refused(crates: &[(String, Option<String>)]) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, licence) in crates {
        match licence {
            Some(expression) if allows(expression) => {}
            Some(expression) => broken.push(format!("{name}: `{expression}` is not allowed")),
            None => broken.push(format!("{name}: it names no licence")),
        }
    }
    broken
}

/// SPDX expressions: `OR` binds less than `AND`; `/` is the old form of `OR`; exceptions (`WITH`) only add to what is
/// allowed.
fn allows(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

fn next(rest: &mut &[&str], wanted: &str) -> bool {
    let found = rest.first() == Some(&wanted);
    *rest = &rest[usize::from(found)..];
    found
}

fn either(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = both(rest)?;
    while next(rest, "OR") {
        allowed |= both(rest)?;
    }
    Some(allowed)
}

fn both(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(rest)?;
    while next(rest, "AND") {
        allowed &= one(rest)?;
    }
    Some(allowed)
}

/// None: that is no expression.
fn one(rest: &mut &[&str]) -> Option<bool> {
    if next(rest, "(") {
        let allowed = either(rest)?;
        return next(rest, ")").then_some(allowed);
    }
    let (word, after) = rest.split_first()?;
    *rest = after;
    if next(rest, "WITH") {
        *rest = rest.split_first()?.1;
    }
    Some(ALLOWED.contains(word))
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for allowed in [
        "MIT",
        "GPL-3.0 OR MIT",
        "LGPL-2.1/MIT",
        "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(allows(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT OR",
        "(MIT",
        "MIT MIT",
    ] {
        assert!(!allows(refused), "{refused}");
    }
}

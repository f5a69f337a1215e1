//! Names and paths: what Kubernetes allows, and what may reach QEMU's command line.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::vmi::findings::Findings;
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// RFC 1123, as Kubernetes reads it: up to 63 of `a-z0-9-`, no `-` at either end.
pub(super) fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Labels joined by dots, up to 253 bytes; Kubernetes does not bound a label of it to 63.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

pub(super) fn dns_label(text: &str, at: &Path, out: &mut Findings) -> bool {
    let good = is_dns_label(text);
    if !good {
        out.refuse(
            at,
            format!("`{}` is not a DNS label", shortened(text)),
            "use up to 63 lower-case letters, digits and `-`, with no `-` at either end",
        );
    }
    good
}

pub(super) fn dns_subdomain(text: &str, at: &Path, out: &mut Findings) -> bool {
    let good = is_dns_subdomain(text);
    if !good {
        out.refuse(
            at,
            format!("`{}` is not a DNS name", shortened(text)),
            "use up to 253 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of every part",
        );
    }
    good
}

/// Words that become part of a QEMU option: `[A-Za-z0-9._-]`.
pub(super) fn is_option_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Free text that a guest will read (SMBIOS strings, kernel arguments): no control characters, bounded.
pub(super) fn printable<'a>(
    text: &'a str,
    most: usize,
    at: &Path,
    out: &mut Findings,
) -> Option<&'a str> {
    if text.chars().any(char::is_control) {
        out.refuse(
            at,
            format!("`{}` holds a control character", shortened(text)),
            "keep it on one line of printable text",
        );
        None
    } else if text.len() > most {
        out.refuse(
            at,
            format!("it is {} bytes long, more than {most}", text.len()),
            "shorten it",
        );
        None
    } else {
        Some(text)
    }
}

/// The absolute path of a file, without detours.
pub(super) fn file_path(text: &str, at: &Path, out: &mut Findings) -> Option<Utf8PathBuf> {
    let path = Utf8Path::new(text);
    let mut refuse = |message: &str, hint: &str| {
        out.refuse(at, format!("`{}` {message}", shortened(text)), hint);
        None
    };
    if text.chars().any(char::is_control) {
        refuse(
            "holds a control character",
            "keep it on one line of printable text",
        )
    } else if !path.is_absolute() {
        refuse("is not an absolute path", "begin it with `/`")
    } else if path
        .components()
        .any(|part| part == Utf8Component::ParentDir)
    {
        refuse("goes up with `..`", "write the path without it")
    } else if path.file_name().is_none() || text.ends_with('/') || text.ends_with("/.") {
        refuse("names no file", "give the path of a file")
    } else {
        Some(path.components().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kubernetes_names() {
        for (text, label, subdomain) in [
            ("a", true, true),
            ("vm-1", true, true),
            ("vm.example", false, true),
            ("", false, false),
            ("-vm", false, false),
            ("vm-", false, false),
            ("Vm", false, false),
            ("vm_1", false, false),
            ("a..b", false, false),
            ("a.-b", false, false),
            (&"a".repeat(64), false, true),
            (&"a".repeat(254), false, false),
            ("vm\u{0}", false, false),
        ] {
            assert_eq!(
                (is_dns_label(text), is_dns_subdomain(text)),
                (label, subdomain),
                "{text}"
            );
        }
    }

    #[test]
    fn paths_have_no_detours() {
        let read = |text| file_path(text, &Path::root(), &mut Findings::default());
        assert_eq!(read("/boot//vmlinuz").unwrap(), "/boot/vmlinuz");
        for text in [
            "", "boot", "/", "/boot/", "/boot/..", "/../boot", "/boot/.", "/a\nb",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

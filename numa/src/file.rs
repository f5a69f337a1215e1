//! Reads the small text files that the kernel keeps: bounded, with the path in every error.

use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};

/// A fact about the host that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// The file is there, but cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file or directory.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More than a file of its kind ever holds.
    #[error("`{path}` is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: Utf8PathBuf,
        /// What its reader allows.
        limit: usize,
    },
    /// The file says something else than it should.
    #[error("`{path}` says `{text}`, which is not {expected}")]
    Malformed {
        /// The file.
        path: Utf8PathBuf,
        /// The part in question, cut to 80 characters.
        text: String,
        /// What should stand there.
        expected: &'static str,
    },
}

/// What ordinary files of `/proc` and `/sys` stay well below.
pub const USUAL_LIMIT: usize = 1 << 20;

impl FactError {
    /// `text` in `path` is not `expected`.
    pub fn malformed(path: &Utf8Path, text: &str, expected: &'static str) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            text: text.trim().chars().take(80).collect(),
            expected,
        }
    }
}

/// The whole file, bytes that are no UTF-8 replaced; none when there is no such file, or its kind is not there
/// (`ENODEV`, `EOPNOTSUPP`: a control file whose controller is off).
pub fn read(path: &Utf8Path, limit: usize) -> Result<Option<String>, FactError> {
    let text = head(path, limit.saturating_add(1))?;
    match text {
        Some(text) if text.len() > limit => Err(FactError::TooLong {
            path: path.to_owned(),
            limit,
        }),
        text => Ok(text),
    }
}

/// As [`read`], but no more than the first `limit` bytes of it.
pub fn head(path: &Utf8Path, limit: usize) -> Result<Option<String>, FactError> {
    // Such files tell no size; without room to begin with they would be read in steps from 32 bytes up.
    let mut bytes = Vec::with_capacity(limit.min(4096));
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(bad) => String::from_utf8_lossy(bad.as_bytes()).into_owned(),
        })),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(FactError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The one value that a file holds, white space around it aside; none as in [`read`].
pub fn value<T: FromStr>(path: &Utf8Path, expected: &'static str) -> Result<Option<T>, FactError> {
    let Some(text) = read(path, USUAL_LIMIT)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(FactError::malformed(path, &text, expected)),
    }
}

/// Names in a directory, sorted; none of them when there is no such directory.
pub fn names(path: &Utf8Path) -> Result<Vec<String>, FactError> {
    let failed = |source| FactError::Read {
        path: path.to_owned(),
        source,
    };
    let entries = match path.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name().to_owned());
    }
    names.sort();
    Ok(names)
}

pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::EOPNOTSUPP)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        (directory, path)
    }

    #[test]
    fn absence_is_no_error_and_a_directory_is() {
        let (_keep, path) = directory();
        assert_eq!(read(&path.join("none"), 9).unwrap(), None);
        assert!(names(&path.join("none")).unwrap().is_empty());
        let error = read(&path, 9).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read `{path}`"));
    }

    #[test]
    fn length_is_bounded() {
        let (_keep, path) = directory();
        let file = path.join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap().as_deref(), Some("12345"));
        assert_eq!(head(&file, 2).unwrap().as_deref(), Some("12"));
        assert!(matches!(
            read(&file, 4),
            Err(FactError::TooLong { limit: 4, .. })
        ));
    }

    #[test]
    fn a_wrong_value_is_shown() {
        let (_keep, path) = directory();
        let file = path.join("file");
        std::fs::write(&file, " 7 \n").unwrap();
        assert_eq!(value::<u32>(&file, "a number").unwrap(), Some(7));
        std::fs::write(&file, b"\xffx\n").unwrap();
        let error = value::<u32>(&file, "a number").unwrap_err().to_string();
        assert_eq!(
            error,
            format!("`{file}` says `\u{fffd}x`, which is not a number")
        );
    }
}

//! What a run leaves in the VM's private directory for whoever asks later: its plan, and where everything was found.

use std::fs::{self, File};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::atomic_file;
use crate::plan::{LaunchPlan, VERSION};

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file.
    #[error("cannot {what} `{path}`")]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no plan.
    #[error("`{path}` is no plan of a VM")]
    Garbled {
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by a later program.
    #[error("`{path}` is a plan of version `{version}`, and this program reads up to `{VERSION}`")]
    Newer {
        /// Which.
        path: Utf8PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The plan of a VM, from its file.
pub fn read_plan(path: &Utf8Path) -> Result<LaunchPlan, RecordError> {
    let text = fs::read_to_string(path).map_err(|source| RecordError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    parse_plan(&text, path)
}

/// The plan that was read from `path`.
pub fn parse_plan(text: &str, path: &Utf8Path) -> Result<LaunchPlan, RecordError> {
    let garbled = |source| RecordError::Garbled {
        path: path.to_owned(),
        source,
    };
    // First of all its version: the rest of a later one may have any shape.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_str(text).map_err(garbled)?;
    if version > VERSION {
        let path = path.to_owned();
        return Err(RecordError::Newer { path, version });
    }
    serde_json::from_str(text).map_err(garbled)
}

/// Writes a record for its owner alone: the whole of it is there, or what was there before. It need not outlive the
/// machine, as the VM does not.
pub fn write(path: &Utf8Path, record: &impl Serialize) -> Result<(), RecordError> {
    let written = (|| {
        let text = serde_json::to_vec(record)?;
        let name = path.file_name().unwrap_or_default();
        let directory = File::open(path.parent().unwrap_or(Utf8Path::new("/")))?;
        atomic_file::replace(directory, name, &text)
    })();
    written.map_err(|source| RecordError::Io {
        what: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("plan.json")).unwrap();
        (folder, path)
    }

    #[test]
    fn a_record_is_its_owners_and_replaces_the_one_before() {
        let (_folder, path) = path();
        write(&path, &1).unwrap();
        write(&path, &2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing partial is left");
    }

    #[test]
    fn a_later_programs_plan_is_told_from_garbage() {
        let (_folder, path) = path();
        fs::write(&path, r#"{"version":9999,"argv":7}"#).unwrap();
        let newer = read_plan(&path).unwrap_err();
        assert!(matches!(newer, RecordError::Newer { version: 9999, .. }));
        fs::write(&path, r#"{"version":1}"#).unwrap();
        assert!(matches!(read_plan(&path), Err(RecordError::Garbled { .. })));
    }

    /// Written by the first program that could be upgraded; never changed, so that it stays readable.
    #[test]
    fn the_plan_of_the_first_upgradable_program_is_read_whole() {
        let old = include_str!("records/plan-v1.json");
        let plan = parse_plan(old, Utf8Path::new("plan.json")).unwrap();
        let written: serde_json::Value = serde_json::from_str(old).unwrap();
        let read = serde_json::to_value(&plan).unwrap();
        // What it said is kept word by word; what came since may stand beside it.
        assert!(holds(&read, &written), "{read:#}");
        assert!(!holds(&written, &serde_json::json!({"domain": "another"})));
    }

    fn holds(all: &serde_json::Value, part: &serde_json::Value) -> bool {
        match part {
            serde_json::Value::Object(part) => {
                let mut fields = part.iter();
                fields.all(|(key, value)| all.get(key).is_some_and(|all| holds(all, value)))
            }
            serde_json::Value::Array(part) => {
                let all = all.as_array().map_or(&[][..], Vec::as_slice);
                all.len() == part.len() && all.iter().zip(part).all(|(all, part)| holds(all, part))
            }
            _ => all == part,
        }
    }
}

//! Where a VMI comes from.

use std::io::{self, Read};

use camino::Utf8PathBuf;

use super::args::VmArgs;

/// KubeVirt's own variable for a VMI without a cluster (facts 2.4).
pub const STANDALONE_VMI: &str = "STANDALONE_VMI";

/// More is no VMI: etcd takes 1.5 MiB.
const LONGEST: u64 = 4 << 20;

/// No text to read.
#[derive(Debug, thiserror::Error)]
pub enum VmiSourceError {
    /// Neither option nor variable.
    #[error(
        "no VMI was given; name a file with --vmi FILE (`-` reads standard input) or set {STANDALONE_VMI}"
    )]
    Absent,
    /// The file cannot be read.
    #[error("cannot read the VMI from `{path}`")]
    Unreadable {
        /// Which; `-` is standard input.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too long.
    #[error("the VMI in `{path}` is longer than 4 MiB")]
    TooLong {
        /// Which.
        path: Utf8PathBuf,
    },
}

/// The text of the VMI.
pub fn read(args: &VmArgs) -> Result<String, VmiSourceError> {
    let Some(path) = &args.vmi else {
        return std::env::var(STANDALONE_VMI).map_err(|_| VmiSourceError::Absent);
    };
    let unreadable = |source| VmiSourceError::Unreadable {
        path: path.clone(),
        source,
    };
    let mut text = String::new();
    let read = if path == "-" {
        io::stdin().take(LONGEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .map_err(unreadable)?
            .take(LONGEST + 1)
            .read_to_string(&mut text)
    };
    if read.map_err(unreadable)? as u64 > LONGEST {
        return Err(VmiSourceError::TooLong { path: path.clone() });
    }
    Ok(text)
}

//! Why storage could not be made ready.

use std::fmt;
use std::io;

use camino::Utf8PathBuf;
use hugepages::Bytes;
use nix::errno::Errno;

use super::iso::IsoError;
use super::qcow2::Qcow2Error;

/// One thing that is wrong with one file.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An image that should be there.
    #[error("disk `{disk}`: `{file}` does not exist; {hint}")]
    Missing {
        /// The VMI's disk name.
        disk: String,
        /// Where it was looked for.
        file: Utf8PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// An image that is there and cannot be opened.
    #[error("disk `{disk}`: cannot open `{file}`")]
    Unreadable {
        /// The VMI's disk name.
        disk: String,
        /// The image.
        file: Utf8PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory, pipe or socket; or a file where the plan has a device, or the other way round.
    #[error("disk `{disk}`: `{file}` is a {found}, not a {wanted}")]
    WrongKind {
        /// The VMI's disk name.
        disk: String,
        /// What was to be an image.
        file: Utf8PathBuf,
        /// What it is.
        found: &'static str,
        /// What it was when the plan was made.
        wanted: &'static str,
    },
    /// Another QEMU has it open.
    #[error(
        "disk `{disk}`: `{file}` is in use by another QEMU; end that one first, or give this VM its own copy"
    )]
    InUse {
        /// The VMI's disk name.
        disk: String,
        /// The image.
        file: Utf8PathBuf,
    },
    /// A container disk that would have QEMU open a path of its own choice.
    #[error(
        "the header of `{file}` names another file; `qemu-img convert -O qcow2` makes it whole"
    )]
    NamesOtherFile {
        /// The image.
        file: Utf8PathBuf,
    },
    /// The image below an overlay is not what the plan took it for.
    #[error("`{file}` is not the {format} image that the plan took it for; plan again")]
    FormatChanged {
        /// The image.
        file: Utf8PathBuf,
        /// What the plan says.
        format: &'static str,
    },
    /// A symbolic link in a directory of ours that root did not make.
    #[error("`{link}` is a symbolic link that user `{owner}` made; remove it")]
    ForeignLink {
        /// The link.
        link: Utf8PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Something else has a file's name.
    #[error(
        "`{path}` exists and is not a regular file; move it away, or name the file that it stands for"
    )]
    NotAFile {
        /// The name.
        path: Utf8PathBuf,
    },
    /// A disk to be made is larger than its file system can ever hold.
    #[error(
        "`{path}` is to hold `{wanted}`, and its file system has `{free}` left; free some, or ask for less"
    )]
    NoRoom {
        /// The file to be made.
        path: Utf8PathBuf,
        /// What the guest is to see.
        wanted: Bytes,
        /// What can be written there.
        free: Bytes,
    },
    /// The image cannot be laid out as qcow2.
    #[error("cannot lay out `{path}`")]
    Qcow2 {
        /// The file to be made.
        path: Utf8PathBuf,
        /// Why.
        source: Qcow2Error,
    },
    /// The seed cannot be laid out.
    #[error("cannot lay out the cloud-init seed `{path}`")]
    Iso {
        /// The file to be made.
        path: Utf8PathBuf,
        /// Why.
        source: IsoError,
    },
    /// The plan's text is not base64.
    #[error("the plan's {field} for `{path}` is not base64")]
    Base64 {
        /// The file to be made.
        path: Utf8PathBuf,
        /// Which text.
        field: &'static str,
        /// Where it goes wrong.
        source: base64::DecodeError,
    },
    /// The kernel refused.
    #[error("cannot {what} `{path}`")]
    Io {
        /// What was tried: `create`, `write`, ...
        what: &'static str,
        /// The file or directory.
        path: Utf8PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StorageError {
    /// What to do about what the kernel said, where its message alone does not tell; empty otherwise.
    pub fn hint(&self) -> &'static str {
        let (Self::Io { source, .. } | Self::Unreadable { source, .. }) = self else {
            return "";
        };
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EDQUOT) => "free some space there",
            Some(Errno::EROFS) => "mount the file system writable",
            Some(Errno::EACCES | Errno::EPERM) => {
                "change its owner or mode, which keep this user out"
            }
            Some(Errno::EFBIG) => "ask for less, as this file system holds no file of that size",
            _ => "",
        }
    }

    pub(super) fn io(
        what: &'static str,
        path: impl Into<Utf8PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            what,
            path: path.into(),
            source: source.into(),
        }
    }
}

/// Everything that kept storage from being made ready. Never empty.
#[derive(Debug)]
pub struct PrepareError {
    /// In the plan's order.
    pub errors: Vec<StorageError>,
    /// What of our own could not be removed again.
    pub left_behind: Vec<StorageError>,
}

impl std::error::Error for PrepareError {}

impl fmt::Display for PrepareError {
    /// One line an error, each with its cause and hint, since a list has no single source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().chain(&self.left_behind).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
            if !error.hint().is_empty() {
                write!(f, "; {}", error.hint())?;
            }
        }
        Ok(())
    }
}

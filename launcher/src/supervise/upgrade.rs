//! A program that is to take over: read once, checked, and kept where nobody can change it.
//!
//! `ctl upgrade` leaves it in the VM's private directory. What is executed is a sealed copy in memory, whose digest is the
//! one that was asked for: whoever else may write to that directory, as QEMU's user may, cannot slip another one in.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use camino::Utf8Path;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sha2::{Digest, Sha256};

/// A debug build has a hundred megabytes.
const LONGEST: u64 = 1 << 30;
/// `elf(5)`. A script would need its interpreter, and a name to hand to it.
const ELF: &[u8] = b"\x7fELF";

/// A program that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The file or its copy failed.
    #[error("cannot {what} the program")]
    Io {
        /// In words.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a plain name.
    #[error("the program is named by its file in the VM's directory alone")]
    Elsewhere,
    /// Others may have written it.
    #[error(
        "the program belongs to user {owner} with mode {mode:o}: only root or we ourselves may be able to write it"
    )]
    NotOurs {
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// A script, a directory, a picture.
    #[error("it is no program of this kind of machine (no ELF file)")]
    NotElf,
    /// Longer than any program.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It changed on the way.
    #[error("the program is not the one that was asked for: its SHA-256 is {found}")]
    Another {
        /// Of what lies there.
        found: String,
    },
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> StageError {
    move |source| StageError::Io { what, source }
}

/// The SHA-256 of what `from` holds, written to `to` on the way.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match from.read(&mut chunk)? {
            0 => break,
            read => {
                digest.update(&chunk[..read]);
                to.write_all(&chunk[..read])?;
            }
        }
    }
    let mut text = String::new();
    for byte in digest.finalize() {
        // A string takes everything.
        let _never = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The program `name` of `directory`, sealed.
pub fn stage(directory: &Utf8Path, name: &str, sha256: &str) -> Result<OwnedFd, StageError> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(StageError::Elsewhere);
    }
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(directory.join(name))
        .map_err(failed("open"))?;
    let facts = file.metadata().map_err(failed("look at"))?;
    if !facts.is_file() {
        return Err(StageError::NotElf);
    }
    let (owner, mode) = (facts.uid(), facts.mode() & 0o7777);
    let we = nix::unistd::geteuid().as_raw();
    if (owner != 0 && owner != we) || mode & 0o022 != 0 {
        return Err(StageError::NotOurs { owner, mode });
    }
    if facts.len() > LONGEST {
        return Err(StageError::TooLong);
    }
    let mut head = [0; ELF.len()];
    let headed = file.read_exact(&mut head);
    if headed.is_err() || head != ELF {
        return Err(StageError::NotElf);
    }
    let mut copied = sealable()?;
    let mut whole = head.chain(file.take(LONGEST));
    let found = copy(&mut whole, &mut copied).map_err(failed("copy"))?;
    if found != sha256 {
        return Err(StageError::Another { found });
    }
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    fcntl(
        copied.as_fd(),
        FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL),
    )
    .map_err(|errno| failed("seal")(errno.into()))?;
    Ok(copied.into())
}

fn sealable() -> Result<File, StageError> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Executable by name where the kernel knows that (6.3), and by default before.
    let exec = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    memfd_create("virt-launcher", flags | exec)
        .or_else(|_| memfd_create("virt-launcher", flags))
        .map(File::from)
        .map_err(|errno| failed("make a copy of")(errno.into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use camino::Utf8PathBuf;

    use super::*;

    fn directory(content: &[u8], mode: u32) -> (tempfile::TempDir, Utf8PathBuf, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let file = path.join("next");
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let digest = copy(&mut &content[..], &mut io::sink()).unwrap();
        (folder, path, digest)
    }

    #[test]
    fn a_staged_program_cannot_be_changed() {
        let (_folder, path, digest) = directory(b"\x7fELF and more", 0o755);
        let staged = stage(&path, "next", &digest).unwrap();
        let mut staged = File::from(staged);
        assert!(staged.write_all(b"x").is_err());
        assert!(staged.set_len(1).is_err());
    }

    #[test]
    fn what_is_not_a_program_of_ours_is_refused() {
        let refused = |content: &[u8], mode, name: &str, right: bool| {
            let (_folder, path, digest) = directory(content, mode);
            let digest = if right { digest } else { "00".to_owned() };
            stage(&path, name, &digest).unwrap_err()
        };
        let elf = b"\x7fELF and more";
        assert!(matches!(
            refused(elf, 0o755, "../next", true),
            StageError::Elsewhere
        ));
        assert!(matches!(
            refused(elf, 0o755, "", true),
            StageError::Elsewhere
        ));
        assert!(matches!(
            refused(elf, 0o775, "next", true),
            StageError::NotOurs { .. }
        ));
        assert!(matches!(
            refused(b"#!/bin/sh\n", 0o755, "next", true),
            StageError::NotElf
        ));
        assert!(matches!(
            refused(b"", 0o755, "next", true),
            StageError::NotElf
        ));
        assert!(matches!(
            refused(elf, 0o755, "next", false),
            StageError::Another { .. }
        ));
    }

    #[test]
    fn a_link_is_not_followed() {
        let (_folder, path, digest) = directory(b"\x7fELF and more", 0o755);
        std::os::unix::fs::symlink(path.join("next"), path.join("link")).unwrap();
        let refused = stage(&path, "link", &digest);
        assert!(matches!(refused, Err(StageError::Io { what: "open", .. })));
    }
}

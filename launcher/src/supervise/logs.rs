//! Logs that others write, kept within bounds: the serial console's and QEMU's own.
//!
//! They are regular files opened for appending, since a pipe that nobody reads stops QEMU's main loop. QEMU writes
//! to them by itself, so they can only be cut from outside: what is over the limit goes to one older file beside it
//! and the file starts again from nothing. Readers that follow it see it shrink and begin anew (as `tail -F` does).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::Bytes;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::readable::Readable;

/// A log is cut when it is longer than this; as much again is kept beside it.
pub const LIMIT: Bytes = Bytes(2 << 20);

/// A writer that floods wakes us this often at the most.
const PACE: Duration = Duration::from_millis(100);

/// Opens a log for appending, making it and never following a link.
pub fn open(path: &Utf8Path) -> io::Result<std::fs::File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

/// Cuts `logs` whenever they grow too long, for ever. Woken by writes alone.
pub async fn bound(logs: Vec<Utf8PathBuf>, limit: Bytes) -> io::Error {
    match watch(&logs) {
        Ok(watch) => loop {
            if let Err(error) = changed(&watch).await {
                return error;
            }
            for log in &logs {
                if let Err(error) = cut(log, limit) {
                    tracing::warn!(event = "log-not-cut", path = %log, error = %error, "a log cannot be cut");
                }
            }
            tokio::time::sleep(PACE).await;
        },
        Err(error) => error,
    }
}

/// One inotify for all of them.
pub fn watch(logs: &[Utf8PathBuf]) -> io::Result<Readable> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    for log in logs {
        inotify.add_watch(log.as_std_path(), AddWatchFlags::IN_MODIFY)?;
    }
    Readable::new(inotify.as_fd().try_clone_to_owned()?)
}

/// Waits until one was written to; takes all events that are there.
pub async fn changed(watch: &Readable) -> io::Result<()> {
    let mut ready = watch.ready().await?;
    let mut events = [0; 4096];
    while nix::unistd::read(watch, &mut events).is_ok() {}
    ready.clear_ready();
    Ok(())
}

fn cut(log: &Utf8Path, limit: Bytes) -> io::Result<()> {
    if std::fs::symlink_metadata(log)?.len() <= limit.0 {
        return Ok(());
    }
    let older = older(log);
    let partial = Utf8PathBuf::from(format!("{older}.partial"));
    std::fs::copy(log, &partial)?;
    std::fs::rename(&partial, &older)?;
    // QEMU appends (O_APPEND), so its next write lands at the new beginning.
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(log)?
        .set_len(0)
}

/// Where what was cut off is kept.
pub fn older(log: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{log}.1"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_log_is_cut_and_its_writer_goes_on_at_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("log")).unwrap();
        let mut writer = open(&path).unwrap();
        writer.write_all(&[b'a'; 100]).unwrap();
        cut(&path, Bytes(100)).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap().len(),
            100,
            "at the limit it stays"
        );
        writer.write_all(b"b").unwrap();
        cut(&path, Bytes(100)).unwrap();
        writer.write_all(b"after").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(std::fs::read(older(&path)).unwrap().len(), 101);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("log")).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(open(&path).is_err());
    }
}

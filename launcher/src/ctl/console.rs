//! `console`: read from the bounded log, so that any number may look; typed into by one.

use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::Value;

use super::{ANSWER, CtlError, Desk};
use crate::local::console::{self, Follower};

/// Shows the console until left, interrupted, or the VM is gone.
pub(super) async fn console(desk: &Desk, read_only: bool) -> Result<(), CtlError> {
    let status = desk.ask("status", Value::Null, ANSWER).await?;
    let path = |key: &str| {
        let name = status["console"][key].as_str().ok_or(CtlError::NoConsole)?;
        Ok::<_, CtlError>(desk.directory.join(name))
    };
    let (log, socket) = (path("log")?, path("socket")?);
    let mut follower = Follower::open(&log).map_err(CtlError::Console)?;
    let types = !read_only && std::io::stdin().is_terminal();
    if !read_only && !types {
        tracing::warn!(
            event = "console-only-shown",
            "console: standard input is no terminal: it is shown, and nothing is typed"
        );
    }
    let show = async {
        if types {
            let name = socket.file_name().unwrap_or_default();
            console::attach(&mut follower, name).await
        } else {
            Err(console::copy(&mut follower).await)
        }
    };
    // QEMU lets the next one wait in silence, so the one who types says so by a lock.
    let _typing = match types {
        true => Some(lock(&socket)?),
        false => None,
    };
    tokio::select! {
        shown = show => return shown.map_err(CtlError::Console),
        _ = desk.session.closed() => {}
    }
    // The VM is gone, and so may be whoever reads stdout.
    console::show_rest(follower, std::future::pending::<()>()).await;
    Ok(())
}

fn lock(socket: &camino::Utf8Path) -> Result<File, CtlError> {
    let path = format!("{socket}.typing");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(CtlError::Console)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(CtlError::ConsoleTaken),
        Err(std::fs::TryLockError::Error(error)) => Err(CtlError::Console(error)),
    }
}

//! Programs that stand before QEMU, of which one holds it back until something has happened.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

const FIFO: &str = "/tmp/qemu-held-back.fifo";
const PROGRAM: &str = "/tmp/qemu-held-back";

/// A script that anybody may run.
pub(crate) fn program(path: &'static str, script: &str) -> Result<&'static str> {
    fs::write(path, script)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A QEMU that waits. By then the launcher has planned and counted.
pub(crate) struct HeldBack;

impl HeldBack {
    pub(crate) fn new() -> Result<Self> {
        let _old = fs::remove_file(FIFO);
        mkfifo(FIFO, Mode::empty())?;
        fs::set_permissions(FIFO, Permissions::from_mode(0o666))?;
        let script = format!("#!/bin/sh\nread -r go <{FIFO}\nexec qemu-system-x86_64 \"$@\"\n");
        program(PROGRAM, &script)?;
        Ok(Self)
    }

    pub(crate) fn program(&self) -> &'static str {
        PROGRAM
    }

    /// Waits until it is there, does something, and lets it go on.
    pub(crate) fn meanwhile(self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        // Opens when the other end is read from (fifo(7)).
        let mut fifo = OpenOptions::new().write(true).open(FIFO)?;
        act()?;
        fifo.write_all(b"go\n").context("QEMU's stand-in is gone")
    }
}

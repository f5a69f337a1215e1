//! `virt-launcher ctl` on the one VM of a test's world.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::binary;

/// Runs it with these words, whatever comes of it.
pub fn output(words: &[&str]) -> Result<Output> {
    Command::new(binary::virt_launcher())
        .arg("ctl")
        .args(words)
        .output()
        .context("cannot start `virt-launcher ctl`")
}

/// What it answers; it must succeed.
pub fn ctl(words: &[&str]) -> Result<Value> {
    let output = output(words)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ctl {}`: {told}", words.join(" "));
    serde_json::from_slice(&output.stdout).context("the answer is JSON")
}

/// Whether an operation changed anything.
pub fn changed(words: &[&str]) -> Result<bool> {
    let answer = ctl(words)?;
    answer["changed"].as_bool().context("the answer says so")
}

/// Its exit code and what it complains of; it must fail.
pub fn refused(words: &[&str]) -> Result<(Option<i32>, String)> {
    let output = output(words)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "`ctl {}` works", words.join(" "));
    Ok((output.status.code(), told))
}

/// State and reason.
pub fn state() -> Result<(String, String)> {
    let status = ctl(&["status"])?;
    let word = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    Ok((word("state"), word("reason")))
}

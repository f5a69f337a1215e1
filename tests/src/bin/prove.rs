//! `prove PROGRAM ARGS...`: runs a launcher whose guest is the demo guest, and proves the guest's network both ways.
//!
//! All of it happens in a network namespace made here, so the machine's own network is not touched: in it 198.51.100.1
//! (an address for documents, RFC 5737) is a server outside the pod. The guest connects there through NAT; where that
//! connection comes from is the pod's address, and on it the guest's port must answer in turn through DNAT. The program
//! keeps this process's terminal, and its exit code becomes ours unless a direction was not proven.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::proof::{OUTSIDE, PATIENCE, PORT, both_ways};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

#[expect(clippy::print_stderr, reason = "a program for people")]
fn say(text: &str) {
    eprintln!("prove: {text}");
}

fn main() -> ExitCode {
    match prepare().and_then(|runtime| runtime.block_on(run())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The namespace must be there before any thread is.
fn prepare() -> Result<tokio::runtime::Runtime> {
    tests::namespace::enter_fresh_network()?;
    let address = format!("{OUTSIDE}/32");
    tests::namespace::run("ip", &["address", "add", &address, "dev", "lo"])?;
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

async fn run() -> Result<u8> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().context("usage: prove PROGRAM ARGS...")?;
    let listener = TcpListener::bind((OUTSIDE, PORT)).await?;
    // Handlers, unlike a signal mask, are not handed on to the child.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = Command::new(&program)
        .args(args)
        .spawn()
        .with_context(|| format!("cannot start `{}`", program.display()))?;

    let both = timeout(PATIENCE, both_ways(&listener, say));
    tokio::pin!(both);
    let mut proof = None;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            result = &mut both, if proof.is_none() => {
                let result = result.unwrap_or_else(|_| bail!("the guest did not show up in {PATIENCE:?}"));
                if let Err(error) = &result {
                    say(&format!("{error:#}"));
                    ask_to_end(&child)?;
                }
                proof = Some(result);
            }
            // The terminal sends Ctrl-C to the program as well.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => ask_to_end(&child)?,
        }
    };
    match proof {
        _ if !status.success() => say(&format!("`{}` ended: {status}", program.display())),
        Some(Ok(())) => say("the guest's network works both ways"),
        Some(Err(_)) => return Ok(1),
        None => bail!("the guest ended before its network was proven"),
    }
    // Killed by a signal: what a shell would say.
    let code = status.code().or_else(|| {
        use std::os::unix::process::ExitStatusExt as _;
        status.signal().map(|signal| 128 + signal)
    });
    Ok(u8::try_from(code.unwrap_or(1)).unwrap_or(1))
}

fn ask_to_end(child: &Child) -> Result<()> {
    if let Some(pid) = child.id() {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    }
    Ok(())
}

//! `prove PROGRAM ARGS...`: runs a launcher whose guest is the demo guest, and proves the guest's network both ways.
//!
//! All of it happens in a network namespace made here, so the machine's own network is not touched: in it 198.51.100.1
//! (an address for documents, RFC 5737) is a server outside the pod. The guest connects there through NAT; where that
//! connection comes from is the pod's address, and on it the guest's port must answer in turn through DNAT. The program
//! keeps this process's terminal, and its exit code becomes ours unless a direction was not proven.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// Where the guest finds its server; the example's user data says the same.
const OUTSIDE: &str = "198.51.100.1";
const PORT: u16 = 8080;
/// From the program's start to both proofs: some ten times what an emulated guest takes.
const PATIENCE: Duration = Duration::from_secs(180);
/// For one line of one connection.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest line a guest may send us.
const LINE: u64 = 512;

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

    let both = timeout(PATIENCE, prove(&listener));
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

/// One word that only this run knows, and that the guest must repeat from the one connection in the other.
async fn prove(listener: &TcpListener) -> Result<()> {
    let told = word("outside")?;
    let pod = be_reached(listener, &told).await?;
    say(&format!(
        "out: the guest reached {OUTSIDE}:{PORT} through NAT, as {pod}"
    ));
    let asked = word("inside")?;
    let answer = reach(pod, &asked).await?;
    ensure!(
        answer.contains(&asked) && answer.contains(&told),
        "the guest's port at {pod}:{PORT} answered `{answer}`, without `{asked}` and `{told}`"
    );
    say(&format!(
        "in: {pod}:{PORT} reached the guest through DNAT: `{answer}`"
    ));
    Ok(())
}

async fn be_reached(listener: &TcpListener, word: &str) -> Result<IpAddr> {
    let (mut stream, peer) = listener.accept().await?;
    let greeting = line(&mut stream).await.context("the guest said nothing")?;
    ensure!(
        greeting.starts_with("demo-guest"),
        "{peer} is not the demo guest: it said `{greeting}`"
    );
    stream.write_all(format!("{word}\n").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(peer.ip())
}

async fn reach(pod: IpAddr, word: &str) -> Result<String> {
    let mut stream = timeout(ANSWER, TcpStream::connect((pod, PORT)))
        .await
        .context("connecting took too long")
        .and_then(|result| Ok(result?))
        .with_context(|| format!("cannot reach the guest's port at {pod}:{PORT}"))?;
    stream.write_all(format!("{word}\n").as_bytes()).await?;
    line(&mut stream)
        .await
        .with_context(|| format!("the guest's port at {pod}:{PORT} did not answer"))
}

async fn line(stream: &mut TcpStream) -> Result<String> {
    let mut text = String::new();
    let mut reader = BufReader::new(stream.take(LINE));
    timeout(ANSWER, reader.read_line(&mut text)).await??;
    Ok(text.trim_end().to_owned())
}

fn word(prefix: &str) -> Result<String> {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(format!("{prefix}-{}", random.trim()))
}

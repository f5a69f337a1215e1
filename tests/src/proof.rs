//! The proof that a demo guest's network works both ways, from outside its pod: the guest, told to, connects to a server
//! here through the pod's NAT, and answers on its own port through the pod's DNAT.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Where the guest finds its server; the example's user data says the same.
pub const OUTSIDE: &str = "198.51.100.1";
/// The server's port, and the guest's own.
pub const PORT: u16 = 8080;
/// From the program's start to both proofs: some ten times what an emulated guest takes.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// For one line of one connection.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest line a guest may send us.
const LINE: u64 = 512;

/// One word that only this run knows, and that the guest must repeat from the one connection in the other.
pub async fn both_ways(listener: &TcpListener, say: impl Fn(&str)) -> Result<()> {
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

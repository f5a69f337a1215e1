//! HTTP, as little as Prometheus needs: one request a connection, whatever it asks for, is answered with all metrics.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Source, collect::collect};
use crate::status::metrics::text;

/// Scrapers at a time; more wait in the backlog.
const SCRAPERS: usize = 4;
/// A request's head; Prometheus sends some hundred bytes.
const LONGEST_HEAD: usize = 8 << 10;
/// A scraper has this long to ask and to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries where the process is out of files.
const AGAIN: Duration = Duration::from_secs(1);

/// Where scrapers come.
#[derive(Debug)]
pub enum Listener {
    /// Always.
    Unix(UnixListener),
    /// Where it is asked for.
    Tcp(TcpListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listener {
    /// The next one. Cancel-safe.
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Serves until the session ends.
pub async fn serve(listener: Listener, source: Source) {
    let mut scrapers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if scrapers.len() < SCRAPERS => match accepted {
                Ok(stream) => {
                    let source = source.clone();
                    scrapers.spawn(timeout(PATIENCE, async move { answer(stream, &source).await }));
                }
                Err(error) => {
                    tracing::warn!(event = "no-scrape", path = %source.path, error = %error, "cannot accept a scraper");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(_) = scrapers.join_next() => {}
            _ = source.session.closed() => return,
        }
    }
}

async fn answer(mut stream: Box<dyn Stream>, source: &Source) -> io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 || head.len() + read > LONGEST_HEAD {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let (status, body) = if !head.starts_with(b"GET ") {
        ("405 Method Not Allowed", String::new())
    } else {
        match text(&source.namespace, &source.name, collect(source).await) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("500 Internal Server Error", String::new()),
        }
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

//! The loop of a server that answers datagrams.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::error::ServiceError;
use super::intake::Intake;
use super::report::Report;

/// A request is one frame of the link; what is longer is cut and then refused by the parser.
const LONGEST_REQUEST: usize = 2048;

/// What requests come by and replies go by.
pub(in crate::net) type Datagrams = Intake<tokio::net::UdpSocket>;

/// What one protocol does with a request.
pub(in crate::net) trait Protocol {
    /// What it reports.
    fn report(&mut self) -> &mut Report;

    /// Answers, or does not.
    async fn handle(&mut self, datagrams: &Datagrams, request: &[u8], from: SocketAddr);
}

impl Datagrams {
    /// A reply that cannot be sent is lost: the client's own retransmission brings the next try.
    pub(in crate::net) async fn reply<E>(
        &self,
        encoded: Result<Vec<u8>, E>,
        to: SocketAddr,
    ) -> io::Result<()>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let bytes = encoded.map_err(io::Error::other)?;
        self.source().send_to(&bytes, to).await.map(drop)
    }
}

/// Serves until the socket is gone for good: only then does it return. Dropping the future stops it.
pub(in crate::net) async fn serve(socket: UdpSocket, mut protocol: impl Protocol) -> ServiceError {
    // The descriptor may come from somebody who made it blocking.
    let registered = socket
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UdpSocket::from_std(socket));
    let source = match registered {
        Ok(socket) => run(Intake::new(socket), &mut protocol).await,
        Err(source) => source,
    };
    protocol.report().gone(source)
}

/// Until an error that waiting does not mend.
async fn run(mut datagrams: Datagrams, protocol: &mut impl Protocol) -> io::Error {
    let mut buffer = [0; LONGEST_REQUEST];
    loop {
        let report = protocol.report();
        let received = datagrams
            .next(&mut buffer, |now, trouble| report.trouble(now, &trouble))
            .await;
        match received {
            Ok((length, from)) => protocol.handle(&datagrams, &buffer[..length], from).await,
            Err(error) => return error,
        }
    }
}

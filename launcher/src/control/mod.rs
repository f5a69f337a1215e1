//! The supervisor's inspection socket: QMP for any number of clients over the supervisor's one session.
//!
//! A QEMU monitor serves one client at a time, and the supervisor is that client. Here others get the same
//! protocol: greeting, capabilities, ids of their own, every event. They may look, not touch, unless they
//! enable the capability [`ALLOW_WRITE`], which the greeting offers only to the supervisor's own uid and to
//! root. Commands whose names begin with [`PREFIX`] are the supervisor's own ([`Own`]). Everything is bounded: clients, message size, commands that wait, how long a client may not read.

mod access;
mod client;
mod own;
mod request;
#[cfg(test)]
mod tests;

use std::{io, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use camino::Utf8Path;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

pub use access::{Access, is_read_only};
pub use own::{Answering, Own, PREFIX, STATUS_EVENT, STATUS_EVENTS};

/// The capability that a client enables to run commands that change something.
pub const ALLOW_WRITE: &str = "allow-write";

/// What clients may do and cost.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Uids that are offered [`ALLOW_WRITE`].
    pub writers: Vec<u32>,
    /// Clients at a time.
    pub clients: usize,
    /// Commands of one client that wait; while they do, no more is read from it.
    pub outstanding: usize,
    /// Longest message from a client, in bytes.
    pub message: usize,
    /// How long QEMU has for a client's command.
    pub deadline: Duration,
    /// How long a client may leave the negotiation undone before it is cut off.
    pub hello: Duration,
    /// How long a client may leave what we send it unread before it is cut off.
    pub patience: Duration,
}

impl Policy {
    /// The usual limits; `uid` (the supervisor's own) and root may write.
    pub fn for_uid(uid: u32) -> Self {
        Self {
            writers: vec![uid, 0],
            clients: 16,
            outstanding: 8,
            message: 1 << 20,
            deadline: Duration::from_secs(60),
            hello: Duration::from_secs(10),
            patience: Duration::from_secs(10),
        }
    }
}

/// Binds the socket, for its owner alone (mode 0600). A file that lies there is removed first: whoever calls
/// this owns the directory.
pub fn bind(path: &Utf8Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves clients until the session ends; `own` answers the supervisor's own commands. Dropping the future cuts all of
/// them off.
pub async fn serve(
    listener: UnixListener,
    session: qmp::Session,
    own: Arc<dyn Own>,
    policy: Policy,
) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &session, &own, &policy, &mut clients),
                Err(error) => {
                    // Out of descriptors, most likely: a client that leaves gives one back.
                    tracing::warn!(event = "client-not-accepted", %error, "cannot accept an inspection client");
                    let nobody = clients.is_empty();
                    let _ = timeout(policy.patience, clients.join_next()).await;
                    if nobody {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            },
            Some(_) = clients.join_next() => {}
            reason = session.closed() => {
                tracing::debug!(event = "control-closed", %reason, "the inspection socket ends with its session");
                break;
            }
        }
    }
    drop(listener);
    // Clients still get the last events; one that does not read them is no reason to stay.
    let _ = timeout(policy.patience, async {
        while clients.join_next().await.is_some() {}
    })
    .await;
}

fn admit(
    stream: UnixStream,
    session: &qmp::Session,
    own: &Arc<dyn Own>,
    policy: &Policy,
    clients: &mut JoinSet<()>,
) {
    if clients.len() >= policy.clients {
        tracing::warn!(
            event = "client-refused",
            limit = policy.clients,
            "refused an inspection client: too many"
        );
        return;
    }
    // Who it is, the kernel says (SO_PEERCRED, unix(7)), as of its connect.
    let may_write = stream
        .peer_cred()
        .is_ok_and(|peer| policy.writers.contains(&peer.uid()));
    // Subscribed before the greeting: a client misses nothing that happens after it.
    let client = client::Client::new(
        stream,
        session.clone(),
        Arc::clone(own),
        policy.clone(),
        may_write,
    );
    clients.spawn(async move {
        if let Err(ended) = client.run().await {
            tracing::debug!(event = "client-cut-off", %ended, "inspection client cut off");
        }
    });
}

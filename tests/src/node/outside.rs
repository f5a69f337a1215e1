//! What is outside the pods of the node: the server that a demo guest is told to reach.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::pod::Running;
use crate::namespace;
use crate::proof::{OUTSIDE, PATIENCE, PORT, both_ways};

/// The server, which listens from before the pod starts.
#[derive(Debug)]
pub struct Outside {
    runtime: Runtime,
    listener: TcpListener,
}

impl Outside {
    /// Listens at the address that the examples name.
    pub fn listen() -> Result<Self> {
        let address = format!("{OUTSIDE}/32");
        namespace::run("ip", &["address", "replace", &address, "dev", "lo"])?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((OUTSIDE, PORT)))?;
        Ok(Self { runtime, listener })
    }

    /// Waits for the pod's guest and proves its network both ways; fails at once when the pod ends first.
    pub fn prove(&self, pod: &mut Running) -> Result<()> {
        self.runtime.block_on(async {
            let proof = timeout(PATIENCE, both_ways(&self.listener, super::log));
            tokio::pin!(proof);
            loop {
                tokio::select! {
                    proof = &mut proof => {
                        return proof.unwrap_or_else(|_| bail!("the guest did not show up in {PATIENCE:?}"));
                    }
                    () = sleep(Duration::from_millis(200)) => {
                        if let Some(status) = pod.started.child().try_wait()? {
                            bail!("the pod ended before its network was proven: {status}");
                        }
                    }
                }
            }
        })
    }
}

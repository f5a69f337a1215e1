//! QMP and guest-agent sessions that outlive unknown events, late replies and newer QEMUs.
//!
//! [`Session`] speaks QMP over a unix socket, [`Agent`] speaks to the guest agent, [`schema`] reads what a
//! QEMU says about itself, [`server`] is the other
//! side of a connection, and [`fake`] a scripted server for tests. The structs of commands and of
//! their replies are `qapi`'s, re-exported here as [`qmp`](mod@crate::qmp) and [`qga`]: nobody else need know the crate.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use qmp::{Options, Session, qmp::query_status};
//!
//! let session = Session::connect("/run/qmp.sock".as_ref(), Options::default()).await?;
//! let status = session.execute(query_status {}, Duration::from_secs(5)).await?;
//! println!("{:?}", status.status);
//! # Ok(()) }
//! ```

pub mod agent;
pub mod commands;
mod error;
mod event;
pub mod fake;
mod line;
mod message;
mod queue;
pub mod schema;
pub mod server;
mod session;

pub use agent::{Agent, AgentError};
pub use error::{CloseReason, ConnectError, ErrorClass, ExecuteError};
pub use event::{Event, Known, OrOther, is_critical};
pub use line::{Line, Lines};
pub use message::{Refused, Version};
pub use qapi::{Command, Empty, qga, qmp};
pub use queue::{Delivery, Events};
pub use session::{Counters, Options, Session, connect};

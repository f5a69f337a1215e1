//! What only QMP can say, between QEMU's start and `cont`.

use serde::{Deserialize, Serialize};

/// One QMP command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QmpStep {
    /// The command's name.
    pub execute: String,
    /// Its arguments.
    pub arguments: serde_json::Value,
}

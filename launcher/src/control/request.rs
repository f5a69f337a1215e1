//! What a client can ask for.

use qmp::server::Call;
use serde_json::Value;

/// One request, as the multiplexer sees it. What is answered without QEMU gets a variant of its own.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// `qmp_capabilities`: the client's hello.
    Negotiate { enable: Vec<String> },
    /// A command for QEMU.
    Execute { name: String, arguments: Value },
}

impl Request {
    /// `Err`: what is wrong with it.
    pub(super) fn read(call: Call) -> Result<Self, &'static str> {
        if call.oob {
            return Err("out-of-band execution is not offered here");
        }
        if call.name != "qmp_capabilities" {
            return Ok(Self::Execute {
                name: call.name,
                arguments: call.arguments,
            });
        }
        let enable = match call.arguments.get("enable") {
            None => Vec::new(),
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|_| "'enable' must be a list of strings")?,
        };
        Ok(Self::Negotiate { enable })
    }
}

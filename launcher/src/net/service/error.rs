//! Why a server for the guest is not there, or not any more.

use std::fmt;
use std::io;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// UDP port 67.
    Dhcp,
    /// UDP port 547.
    Dhcp6,
    /// ICMPv6.
    RouterAdvertisement,
}

impl Service {
    /// What its socket takes that a process without privileges has not.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Dhcp | Self::Dhcp6 => "CAP_NET_BIND_SERVICE",
            Self::RouterAdvertisement => "CAP_NET_RAW",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dhcp => "dhcp",
            Self::Dhcp6 => "dhcpv6",
            Self::RouterAdvertisement => "router advertisement",
        })
    }
}

/// Why there is no server. The guest runs on without one: it keeps what it was given.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No socket.
    #[error("no socket for {service} on `{link}`{}", hint(*service, source))]
    Socket {
        /// For what.
        service: Service,
        /// The link to serve.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// An option of the socket was refused.
    #[error("socket option `{option}` cannot be set on the {service} socket of `{link}`")]
    Option {
        /// Whose socket.
        service: Service,
        /// The kernel's name for it.
        option: &'static str,
        /// The link to serve.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The port is taken or not allowed.
    #[error("udp port {port} cannot be bound on `{link}` for {service}{}", hint(*service, source))]
    Bind {
        /// For what.
        service: Service,
        /// Its port.
        port: u16,
        /// The link to serve.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A kept fd that is not what `bind` made.
    #[error("fd {fd} is not the {service} socket of `{link}`")]
    Foreign {
        /// What it was to be.
        service: Service,
        /// The fd's number.
        fd: i32,
        /// The link to serve.
        link: String,
    },
    /// The socket is gone for good.
    #[error("the {service} socket of `{link}` cannot be read any more")]
    Receive {
        /// Whose socket.
        service: Service,
        /// The link that was served.
        link: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

impl ServiceError {
    /// Only a privilege is missing.
    pub fn is_permission(&self) -> bool {
        let (Self::Socket { source, .. } | Self::Option { source, .. } | Self::Bind { source, .. }) =
            self
        else {
            return false;
        };
        source.kind() == io::ErrorKind::PermissionDenied
    }
}

fn hint(service: Service, source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::PermissionDenied {
        format!("; it takes {}", service.capability())
    } else {
        String::new()
    }
}

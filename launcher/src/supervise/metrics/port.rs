//! The opt-in TCP port: bound to an address and to the device that has it. What the guest sends to the pod's address comes
//! by another device, its bridge, and is therefore never for this socket.

use std::io;
use std::net::{SocketAddr, TcpListener};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use tokio::net::TcpSocket;

/// Scrapers that wait.
const BACKLOG: u32 = 16;

/// Binds; without a device of that address there is nothing to bind to.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let device = device(address)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    // No privilege is needed where none was bound to before (socket(7), since Linux 5.7).
    socket.bind_device(Some(device.as_bytes()))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn device(address: SocketAddr) -> io::Result<String> {
    let wanted = SockaddrStorage::from(address);
    let same = |found: &SockaddrStorage| -> bool {
        match (found.as_sockaddr_in(), wanted.as_sockaddr_in()) {
            (Some(found), Some(wanted)) => {
                let (found, wanted) = (found.ip(), wanted.ip());
                // All of 127.0.0.0/8 is the loopback device's.
                found == wanted || (found.is_loopback() && wanted.is_loopback())
            }
            _ => match (found.as_sockaddr_in6(), wanted.as_sockaddr_in6()) {
                (Some(found), Some(wanted)) => found.ip() == wanted.ip(),
                _ => false,
            },
        }
    };
    let mut all = getifaddrs()?;
    all.find(|one| one.address.as_ref().is_some_and(same))
        .map(|one| one.interface_name)
        .ok_or_else(|| {
            let missing = format!("no device here has the address `{}`", address.ip());
            io::Error::new(io::ErrorKind::AddrNotAvailable, missing)
        })
}

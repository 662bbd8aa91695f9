//! Opening a TCP socket that takes connections. `[::]` takes those of both kinds of addresses, whatever the system's
//! default is (net.ipv6.bindv6only); `0.0.0.0` those of IPv4 alone.

use crate::config::HostPort;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

/// Opens the first of the addresses that can be opened.
pub(super) fn open(address: &HostPort) -> io::Result<TcpListener> {
    let mut failed = ErrorKind::AddrNotAvailable.into();
    for address in address.resolve()? {
        match open_one(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn open_one(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // A restart does not wait for old connections.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // With a short queue, the rest of a crowd that comes at once, as after a restart, would be asked to come back
    // after a second.
    listen(&socket, Backlog::MAXCONN)?;
    Ok(TcpListener::from(socket))
}

/// The address itself, where the kernel shows one of IPv4 in IPv6's form: as it does at `[::]`.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

//! A non-blocking Unix stream socket: the few system calls that this library makes, and nothing
//! that could wait except [`Socket::wait`].
//!
//! This is a door for `unsafe`: std's own socket cannot be connected without the risk of blocking
//! (a listener whose queue is full makes connect(2) wait).
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice};
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// What is asked for as the send buffer, in bytes; the kernel gives what net.core.wmem_max allows.
/// A default socket holds 278 small messages, which a burst of rows fills before the daemon wakes.
const SEND_BUFFER: c_int = 4 << 20;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Something to read.
    Input,
    /// Room to write.
    Room,
}

/// A connected socket. It closes itself.
pub(crate) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Connects without waiting: a listener whose queue is full is an error (`WouldBlock`).
    pub(crate) fn connect(path: &Path) -> io::Result<Socket> {
        // SAFETY: no pointers are passed.
        let fd = unsafe {
            libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
        };
        check(fd as isize)?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (address, len) = address(path)?;
        // SAFETY: the address is valid and as long as said.
        let connected = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) };
        check(connected as isize)?;
        let socket = Socket { fd };
        socket.raise_send_buffer();
        Ok(socket)
    }

    /// Hands pieces to the kernel as if they were one, as many bytes of them as it takes now.
    pub(crate) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: all zeroes is a valid msghdr: no address, no control data, no flags.
        let mut message: libc::msghdr = unsafe { zeroed() };
        // An IoSlice has the layout of an iovec, as std promises for Unix; the kernel only reads it.
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len();
        // SAFETY: the message holds so many iovecs, each of a slice that outlives the call.
        check(unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
    }

    /// Takes bytes that have come; 0 means that the other end has closed.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer and the length are those of the slice.
        check(unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) })
    }

    /// Waits until the socket is ready, broken or closed, or the time is over; says whether it is.
    pub(crate) fn wait(&self, what: For, at_most: Duration) -> bool {
        let events = if what == For::Input { libc::POLLIN } else { libc::POLLOUT };
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        // Rounded up: a wait of no time at all would only turn the caller's loop into a busy one.
        let millis = c_int::try_from(at_most.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
        // SAFETY: the pointer is to one pollfd.
        let ready = unsafe { libc::poll(&raw mut poll, 1, millis) };
        ready > 0
    }

    fn raise_send_buffer(&self) {
        let value: *const c_int = &SEND_BUFFER;
        let len = size_of_val(&SEND_BUFFER) as libc::socklen_t;
        // Refused, the buffer stays as it is, which costs only capacity.
        // SAFETY: the pointer and the length are those of the constant.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                value.cast::<c_void>(),
                len,
            )
        };
    }
}

fn address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all zeroes is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // One less than there is room for: a NUL ends it.
    if bytes.is_empty() || bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok((address, size_of::<libc::sockaddr_un>() as libc::socklen_t))
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

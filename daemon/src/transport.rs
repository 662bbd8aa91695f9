//! A connection's bytes, plain or in TLS: how they are written, and what those that were read hold.
//! What they mean, and when to read and to write, is decided elsewhere.

mod tls;

use crate::outbuf::{Owed, Round};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use rustls::ServerConfig;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;
use tls::Tls;

/// A socket, and TLS if it is spoken there.
pub(crate) struct Transport {
    fd: OwnedFd,
    /// `None` is plain: that costs a pointer, and no more.
    tls: Option<Box<Tls>>,
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Transport {
    /// One in clear text.
    pub(crate) fn plain(fd: OwnedFd) -> Transport {
        Transport { fd, tls: None }
    }

    /// One on which a handshake is awaited, from now on. Until it begins, what is written goes out in
    /// clear text.
    pub(crate) fn awaiting(fd: OwnedFd, now: Instant) -> Transport {
        Transport { fd, tls: Some(Box::new(Tls::awaiting(now))) }
    }

    /// Whether what is read is what was meant, and nothing of TLS is to be expected.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether a handshake is awaited and has not begun.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_awaiting())
    }

    /// Since when a handshake has been awaited or under way.
    pub(crate) fn unfinished_since(&self) -> Option<Instant> {
        self.tls.as_ref()?.unfinished_since()
    }

    /// What the two ends have agreed upon, for the log.
    pub(crate) fn agreed(&self) -> Option<String> {
        self.tls.as_ref()?.agreed()
    }

    /// There will be no handshake after all.
    pub(crate) fn become_plain(&mut self) {
        self.tls = None;
    }

    /// The first byte of a handshake is there.
    ///
    /// # Errors
    /// Those of rustls, about a configuration that was not checked.
    pub(crate) fn begin(&mut self, config: Arc<ServerConfig>) -> Result<(), rustls::Error> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.begin(config))
    }

    /// Whether the peer has said, within TLS, that no more will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_ended())
    }

    /// Takes what was read, and appends what it held to `clear`. What it had to answer is to be
    /// written next.
    ///
    /// # Errors
    /// The peer's mistake. What came before it has been appended all the same.
    pub(crate) fn decrypt(&mut self, wire: &[u8], clear: &mut Vec<u8>) -> Result<(), rustls::Error> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.decrypt(wire, clear))
    }

    /// Bytes that are encrypted and that the socket has not taken.
    pub(crate) fn sealed(&mut self) -> usize {
        self.tls.as_mut().map_or(0, |tls| tls.sealed())
    }

    /// Writes what is owed, as far as the socket takes it, and says how many bytes it took.
    ///
    /// # Errors
    /// Those of the socket, except that it would block.
    pub(crate) fn write(
        &mut self,
        owed: &mut Owed,
        round: &Round,
        gather: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let fd = &self.fd;
        match &mut self.tls {
            None => owed.write(round, gather, |slices| write(fd, slices)),
            Some(tls) => tls.write(owed, round, gather, |slices| write(fd, slices)),
        }
    }

    /// Says to the peer, within TLS, that no more will come. That is to be written next.
    pub(crate) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
        }
    }

    /// Gives TLS up: the peer is told why, if its socket takes that, and whatever it says is
    /// thrown away from now on.
    pub(crate) fn fail(&mut self) {
        let fd = &self.fd;
        if let Some(tls) = &mut self.tls {
            tls.fail(|slices| write(fd, slices));
        }
    }

    /// Closes one direction of the socket.
    ///
    /// # Errors
    /// Those of shutdown(2): the peer is gone already.
    pub(crate) fn shut(&self, how: Shutdown) -> Result<(), Errno> {
        shutdown(self.fd.as_raw_fd(), how)
    }
}

/// One write. A single slice takes the cheaper call.
fn write(fd: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let written = match slices {
        [one] => nix::unistd::write(fd, one),
        many => nix::sys::uio::writev(fd, many),
    };
    written.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_one_costs_a_pointer() {
        // The descriptor's four bytes are padded to the pointer's eight.
        assert_eq!(size_of::<Transport>(), 2 * size_of::<usize>());
    }
}

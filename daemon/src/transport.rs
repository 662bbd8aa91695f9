//! A connection's bytes, plain, in TLS, in frames of WebSocket: how they are written, and what those that
//! were read hold.
//! What they mean, and when to read and to write, is decided elsewhere.

mod tls;

use crate::outbuf::{Owed, Round};
use crate::websocket::{Code, WebSocket};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use rustls::ServerConfig;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;
use tls::Tls;

/// A socket, and what is spoken on it beneath the NATS client protocol or HTTP.
pub(crate) struct Transport {
    fd: OwnedFd,
    /// `None` is plain: that costs a pointer, and no more.
    layers: Option<Box<Layers>>,
}

/// The lower one first.
#[derive(Default)]
struct Layers {
    tls: Option<Tls>,
    web: Option<WebSocket>,
}

/// What was wrong with what was read.
pub(crate) enum Fault {
    Tls(rustls::Error),
    Web,
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Transport {
    /// One in clear text.
    pub(crate) fn plain(fd: OwnedFd) -> Transport {
        Transport { fd, layers: None }
    }

    /// One on which a handshake is awaited, from now on. Until it begins, what is written goes out in
    /// clear text.
    pub(crate) fn awaiting(fd: OwnedFd, now: Instant) -> Transport {
        Transport { fd, layers: Some(Box::new(Layers { tls: Some(Tls::awaiting(now)), web: None })) }
    }

    /// Whether what is read is what was meant, and nothing of TLS is to be expected.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.layers.is_none()
    }

    fn tls(&self) -> Option<&Tls> {
        self.layers.as_ref()?.tls.as_ref()
    }

    fn tls_mut(&mut self) -> Option<&mut Tls> {
        self.layers.as_mut()?.tls.as_mut()
    }

    /// Whether a handshake is awaited and has not begun.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.tls().is_some_and(Tls::is_awaiting)
    }

    /// Since when a handshake has been awaited or under way.
    pub(crate) fn unfinished_since(&self) -> Option<Instant> {
        self.tls()?.unfinished_since()
    }

    /// What the two ends have agreed upon, for the log.
    pub(crate) fn agreed(&self) -> Option<String> {
        self.tls()?.agreed()
    }

    /// There will be no handshake after all.
    pub(crate) fn become_plain(&mut self) {
        self.layers = None;
    }

    /// The first byte of a handshake is there.
    ///
    /// # Errors
    /// Those of rustls, about a configuration that was not checked.
    pub(crate) fn begin(&mut self, config: Arc<ServerConfig>) -> Result<(), rustls::Error> {
        self.tls_mut().map_or(Ok(()), |tls| tls.begin(config))
    }

    /// From now on WebSocket is spoken; only what is owed by now goes out as it is.
    pub(crate) fn become_websocket(&mut self, owed: &Owed) {
        let sealed = self.sealed();
        self.layers.get_or_insert_default().web = Some(WebSocket::after(owed.len() - sealed));
    }

    /// Whether the peer has said, within TLS or WebSocket, that no more will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.layers.as_deref().is_some_and(|layers| {
            layers.tls.as_ref().is_some_and(Tls::has_ended)
                || layers.web.as_ref().is_some_and(WebSocket::has_ended)
        })
    }

    /// Takes what was read, and appends what it held to `clear`. What it had to answer is to be
    /// written next.
    ///
    /// # Errors
    /// The peer's mistake. What came before it has been appended all the same.
    pub(crate) fn unwrap(&mut self, wire: &[u8], clear: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(layers) = self.layers.as_deref_mut() else { return Ok(()) };
        match (&mut layers.tls, &mut layers.web) {
            (Some(tls), None) => tls.decrypt(wire, clear).map_err(Fault::Tls),
            (None, Some(web)) => web.take(wire, clear).map_err(|_| Fault::Web),
            (Some(tls), Some(web)) => {
                let mut frames = Vec::new();
                let decrypted = tls.decrypt(wire, &mut frames);
                web.take(&frames, clear).map_err(|_| Fault::Web)?;
                decrypted.map_err(Fault::Tls)
            }
            (None, None) => Ok(()),
        }
    }

    /// The same for what was read before WebSocket began, and was decrypted already.
    pub(crate) fn unframe(&mut self, frames: &[u8], clear: &mut Vec<u8>) -> Result<(), Fault> {
        match self.layers.as_deref_mut().and_then(|layers| layers.web.as_mut()) {
            Some(web) => web.take(frames, clear).map_err(|_| Fault::Web),
            None => Ok(()),
        }
    }

    /// Bytes that are encrypted or framed and that the socket has not taken.
    pub(crate) fn sealed(&mut self) -> usize {
        let Some(layers) = self.layers.as_deref_mut() else { return 0 };
        let waiting = layers.web.as_ref().map_or(0, WebSocket::waiting);
        layers.tls.as_mut().map_or(0, Tls::sealed) + waiting
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
        let Some(layers) = self.layers.as_deref_mut() else {
            return owed.write(round, gather, |slices| write(fd, slices));
        };
        let sent = match (&mut layers.tls, &mut layers.web) {
            (Some(tls), web) => tls.write(owed, round, gather, web.as_mut(), |slices| write(fd, slices)),
            (None, Some(web)) => write_framed(web, owed, round, gather, |slices| write(fd, slices)),
            (None, None) => owed.write(round, gather, |slices| write(fd, slices)),
        };
        owed.set_sealed(self.sealed());
        sent
    }

    /// Says to the peer, within what is spoken, that no more will come; says whether there is something
    /// to be written for it. To be asked again when that is written.
    pub(crate) fn close(&mut self, code: Code) -> bool {
        let Some(layers) = self.layers.as_deref_mut() else { return false };
        layers.web.as_mut().is_some_and(|web| web.close(code)) || layers.tls.as_mut().is_some_and(Tls::close)
    }

    /// Gives TLS up: the peer is told why, if its socket takes that, and whatever it says is
    /// thrown away from now on.
    pub(crate) fn fail(&mut self) {
        let fd = &self.fd;
        if let Some(tls) = self.layers.as_deref_mut().and_then(|layers| layers.tls.as_mut()) {
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

/// Writes what is owed in frames.
fn write_framed(
    web: &mut WebSocket,
    owed: &mut Owed,
    round: &Round,
    gather: &mut Vec<u8>,
    mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut sent = 0;
    let mut send = |slices: &[IoSlice<'_>]| {
        let taken = send(slices)?;
        sent += taken;
        Ok(taken)
    };
    // A write may end with a frame, and what is owed behind it goes into the next.
    while owed.write(round, gather, |slices| web.send(slices, &mut send))? > 0 {}
    send_rest(web, send)?;
    Ok(sent)
}

/// Sends what of WebSocket's own is left once nothing more of what is owed is taken.
fn send_rest(
    web: &mut WebSocket,
    mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut left = usize::MAX;
    while (1..left).contains(&web.waiting()) {
        left = web.waiting();
        match web.send(&[], &mut send) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
            sent => drop(sent?),
        }
    }
    Ok(())
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

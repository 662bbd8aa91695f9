//! TLS and WebSocket around a client's bytes: who speaks them, the handshake, and what is done when it fails. The bytes
//! themselves are transport.rs's business, the certificates those of certificates.rs.

use super::Client;
use crate::Daemon;
use crate::config::Tls;
use crate::listener::Peer;
use crate::outbuf::Owed;
use crate::slots::Key;
use crate::stats::Reason;
use crate::transport::{Fault, Transport};
use crate::websocket::Code;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The first byte of a handshake. No operation of the NATS protocol begins with it.
const HANDSHAKE: u8 = 0x16;

/// What those are told who speak in clear text where TLS is wanted.
const REQUIRED: &str = "Secure Connection - TLS Required";

impl Client {
    /// Whether it has ended its half within TLS, and all that came before is done or under way.
    fn has_said_all(&self) -> bool {
        self.transport.has_ended() && !self.is_held_back() && !self.is_ahead()
    }
}

impl Daemon {
    /// How such a peer speaks TLS.
    pub(crate) fn manner(&self, peer: Peer) -> Tls {
        match peer {
            _ if self.config.certificates.is_none() => Tls::None,
            Peer::Unix => Tls::None,
            Peer::Tcp { .. } => self.config.tls,
            Peer::Http { .. } | Peer::Web { .. } if self.config.http_tls => Tls::First,
            Peer::Http { .. } | Peer::Web { .. } => Tls::None,
        }
    }

    /// Whether such a peer speaks TLS, or may.
    pub(crate) fn is_secret(&self, peer: Peer) -> bool {
        self.manner(peer) != Tls::None
    }

    /// Whether such a peer is greeted as soon as it comes, and not only after the handshake.
    pub(super) fn greets_in_clear(&self, peer: Peer) -> bool {
        self.manner(peer) != Tls::First
    }

    pub(super) fn transport(&self, fd: OwnedFd, peer: Peer) -> Transport {
        if self.is_secret(peer) { Transport::awaiting(fd, self.now) } else { Transport::plain(fd) }
    }

    /// Reads once from a connection on which TLS is spoken or awaited, and does what the bytes in it
    /// say: all of them, since no event would tell of those that TLS held back. Tells how many bytes
    /// came.
    pub(super) fn read_secret(&mut self, key: Key) -> usize {
        let Some(client) = self.clients.get_mut(key) else { return 0 };
        // The greeting in clear text must be out before anything else is.
        if client.transport.is_awaiting() && !client.owed.is_empty() {
            return 0;
        }
        let mut input = std::mem::take(&mut self.input);
        let read = match nix::unistd::read(&client.transport, &mut input) {
            Ok(read) if read > 0 => {
                client.last_read = self.now;
                if !client.transport.is_awaiting() || self.begin_secrecy(key, input[0]) {
                    self.take_secret(key, &input[..read]);
                } else {
                    self.take_clear(key, &input[..read]);
                }
                read
            }
            nothing => self.on_nothing_read(key, nothing),
        };
        self.input = input;
        read
    }

    /// The first byte has come: whether it is TLS.
    fn begin_secrecy(&mut self, key: Key, first: u8) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let optional = self.config.tls == Tls::Optional;
        match &self.config.certificates {
            // What one says who is being sent away is of no interest.
            _ if !client.is_open() => {}
            Some(config) if first == HANDSHAKE => match client.transport.begin(Arc::clone(config)) {
                Ok(()) => return true,
                Err(error) => self.fail_secrecy(key, &error),
            },
            _ if client.visit.is_some() => self.answer_clear_text(key),
            _ if optional => client.transport.become_plain(),
            _ => self.refuse(key, REQUIRED),
        }
        false
    }

    fn take_secret(&mut self, key: Key, wire: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut clear = std::mem::take(&mut self.clear);
        let before = client.transport.unfinished_since();
        let unwrapped = client.transport.unwrap(wire, &mut clear);
        client.owed.set_sealed(client.transport.sealed());
        if !client.owed.is_empty() {
            Self::mark_dirty(&mut self.dirty, key, client);
        }
        if before.is_some() && client.transport.unfinished_since().is_none() {
            self.on_handshake_done(key);
        }
        self.take_clear(key, &clear);
        clear.clear();
        self.clear = clear;
        self.on_unwrapped(key, unwrapped);
    }

    /// Takes in what came behind the request for WebSocket.
    pub(crate) fn take_frames(&mut self, key: Key, frames: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut clear = Vec::new();
        let unwrapped = client.transport.unframe(frames, &mut clear);
        client.owed.set_sealed(client.transport.sealed());
        self.take_clear(key, &clear);
        self.on_unwrapped(key, unwrapped);
    }

    fn on_unwrapped(&mut self, key: Key, unwrapped: Result<(), Fault>) {
        match unwrapped {
            Ok(()) => self.end_if_said_all(key),
            Err(Fault::Tls(error)) => self.fail_secrecy(key, &error),
            Err(Fault::Web) => self.leave(key, Reason::Malformed),
        }
    }

    /// That no more will come, TLS may have told while what came before had to wait; nothing tells it
    /// again.
    pub(crate) fn end_if_said_all(&mut self, key: Key) {
        if self.clients.get(key).is_some_and(Client::has_said_all) {
            self.on_end_of_input(key);
        }
    }

    fn on_handshake_done(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        tracing::debug!(client = client.id, tls = client.transport.agreed(), "the handshake is done");
        if client.visit.is_none() && self.config.tls == Tls::First {
            self.send_info(key, false);
        }
    }

    /// The time for the handshake is over.
    pub(super) fn on_no_handshake(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.transport.is_awaiting() || client.visit.is_some() {
            self.fail_secrecy(key, &"the handshake was not done within tls_timeout");
        } else if self.config.tls == Tls::Optional {
            // As at the reference: who has not said anything by now wants none.
            client.transport.become_plain();
        } else {
            self.refuse(key, REQUIRED);
        }
    }

    /// Ends a connection on which TLS went wrong. What it was owed can no longer be said.
    fn fail_secrecy(&mut self, key: Key, why: &dyn Display) {
        let Some(client) = self.clients.get_mut(key) else { return };
        tracing::info!(client = client.id, peer = %client.peer, %why, "TLS failed");
        client.transport.fail();
        client.owed.set_sealed(0);
        let unheard = client.visit.is_some() && !client.owed.is_empty();
        self.stats.lost_bytes += client.owed.len() as u64;
        client.owed = Owed::default();
        client.blocked_since = None;
        if unheard {
            self.on_worker_gone(key);
        }
        self.leave(key, Reason::Tls);
    }

    /// Closes the conversation within WebSocket and TLS, once all of it has been said. The client may be gone
    /// afterwards.
    pub(super) fn close_secretly(&mut self, key: Key, reason: Reason) {
        while let Some(client) = self.clients.get_mut(key)
            && !client.transport.is_plain()
            && client.owed.is_empty()
            && client.transport.close(code_of(reason))
        {
            client.owed.set_sealed(client.transport.sealed());
            self.write_client(key);
        }
    }
}

/// What WebSocket calls the reason.
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::Leaving => Code::GoingAway,
        Reason::Malformed | Reason::Refused("Unknown Protocol Operation") => Code::Protocol,
        Reason::Refused("Maximum Payload Violation" | "maximum control line exceeded") => Code::TooLarge,
        Reason::Refused(_) => Code::Policy,
        _ => Code::Normal,
    }
}

//! When something about a connection is due: a publisher that is held may go on, a socket that takes
//! nothing is given up, a silent peer is asked whether it is there. One timer stands for all of it.

use super::Client;
use super::ending::GOODBYE_MAX;
use crate::auth::login::Outcome;
use crate::listener::Peer;
use crate::slots::Key;
use crate::stats::Reason;
use crate::{Daemon, Timer};
use std::time::Instant;

impl Daemon {
    /// One of the client's deadlines may have passed; looks which, and sets the next.
    pub(crate) fn on_client_deadline(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        // One that was set later, for later, stands.
        client.deadline = client.deadline.filter(|&at| at > self.now);
        self.go_on_if_room(key);
        let Some(client) = self.clients.get(key) else { return };
        let stuck =
            client.blocked_since.is_some_and(|since| since + self.config.write_deadline.0 <= self.now);
        let waited = client.ending.is_some_and(|(_, since)| since + GOODBYE_MAX <= self.now);
        let handshake_due = self.config.handshake_due(client);
        let login_due = self.login_due(client);
        let is_over = |due: Option<Instant>| due.is_some_and(|due| due <= self.now);
        match client.ending {
            Some(_) if stuck || (waited && client.owed.is_empty()) => return self.close_client(key),
            None if stuck => return self.leave(key, Reason::SlowWrite),
            None if is_over(handshake_due) => self.on_no_handshake(key),
            None if client.is_held() => {}
            None if client.visit.is_some() => self.on_visit_due(key),
            None if is_over(login_due) => return self.on_login(key, Outcome::Busy),
            None => self.ask_if_there(key),
            Some(_) => {}
        }
        self.set_deadline(key);
    }

    /// Asks a silent client on TCP whether it is still there; gives up on one that never answers.
    fn ask_if_there(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let due = self.config.ping_due(client.peer, client.last_read, client.pings_open);
        if due.is_none_or(|due| due > self.now) {
            return;
        }
        if client.pings_open >= self.config.ping_max {
            return self.refuse(key, "Stale Connection");
        }
        client.pings_open += 1;
        self.reply(key, rowcall_wire::encode::PING);
    }

    /// Sets a timer for the earliest moment at which something about the client may be due, unless
    /// an earlier one is set.
    pub(crate) fn set_deadline(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let login_due = self.login_due(client);
        let stuck = client.blocked_since.map(|since| since + self.config.write_deadline.0);
        let rest = match client.ending {
            Some((_, since)) if client.owed.is_empty() => Some(since + GOODBYE_MAX),
            Some(_) => None,
            None if client.is_held() => self.trickle_due(client),
            None => match &client.visit {
                Some(visit) => Some(visit.next_due()),
                None if login_due.is_some() => login_due,
                None => self.config.ping_due(client.peer, client.last_read, client.pings_open),
            },
        };
        let handshake = if client.is_open() { self.config.handshake_due(client) } else { None };
        let Some(at) = [stuck, rest, handshake].into_iter().flatten().min() else {
            return;
        };
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.deadline.is_none_or(|set| at < set) {
            client.deadline = Some(at);
            self.timers.set(at, Timer::Client(key));
        }
    }
}

impl crate::config::Config {
    /// When a client that is to speak TLS must have finished its handshake.
    fn handshake_due(&self, client: &Client) -> Option<Instant> {
        client.transport.unfinished_since().map(|since| since + self.tls_timeout.0)
    }

    /// When a client that was last heard of then, and was asked so many times since, is to be
    /// asked next. On a Unix socket never: the kernel tells when the other end is gone, and the
    /// library inside the server does not read unless it waits for an answer.
    fn ping_due(&self, peer: Peer, last_read: Instant, asked: u8) -> Option<Instant> {
        match peer {
            Peer::Unix | Peer::Http { .. } => None,
            Peer::Tcp { .. } | Peer::Web { .. } => {
                Some(last_read + self.ping_interval.0 * (u32::from(asked) + 1))
            }
        }
    }
}

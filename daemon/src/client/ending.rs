//! How a connection ends.
//!
//! It ends in one place, [`Daemon::close_client`], called by the loop at the end of a turn; whoever
//! wants it to end says so with [`Daemon::leave`] and goes on. One that is told why (`-ERR`) is not
//! cut at once: closing with input unread makes the kernel send a reset, which may overtake the
//! explanation. So its output is shut, and its input read and thrown away, until the peer hangs up
//! or [`GOODBYE_MAX`] has passed.

use crate::slots::Key;
use crate::stats::Reason;
use crate::{Daemon, NEXT_TURN, Timer};
use nix::errno::Errno;
use nix::sys::socket::Shutdown;
use rowcall_wire::parse::Violation;
use std::time::Duration;

/// How long a peer that was told why may take to hang up.
pub(super) const GOODBYE_MAX: Duration = Duration::from_secs(2);

impl Daemon {
    /// Tells the client why, in the words of its protocol, and ends its connection. HTTP has none for
    /// this: there the connection just ends.
    pub(crate) fn refuse(&mut self, key: Key, text: &'static str) {
        self.complain(key, text);
        self.leave(key, Reason::Refused(text));
    }

    pub(super) fn refuse_violation(&mut self, key: Key, violation: Violation) {
        match violation.text() {
            Some(text) => self.refuse(key, text),
            None => self.leave(key, Reason::Malformed),
        }
    }

    /// Says that the connection shall end when the turn does. The first reason stays.
    pub(crate) fn leave(&mut self, key: Key, reason: Reason) {
        if let Some(client) = self.clients.get_mut(key)
            && client.ending.is_none()
        {
            client.ending = Some((reason, self.now));
            self.leaving.push(key);
        }
    }

    /// Goes on with the connections that shall end: closes those that are owed nothing more and
    /// have nothing to say, and waits for the others.
    pub(crate) fn end_leaving(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        for key in leaving.drain(..) {
            self.unsubscribe_all(key);
            self.withdraw(key);
            let Some(client) = self.clients.get(key) else { continue };
            let Some((reason, _)) = client.ending else { continue };
            if !reason.is_abrupt() {
                self.close_secretly(key, reason);
            }
            let Some(client) = self.clients.get(key) else { continue };
            let done = client.owed.is_empty();
            if reason.is_abrupt() || (done && client.ended_input) {
                self.close_client(key);
                continue;
            }
            if done {
                // It fails only if the peer is gone already, which the next read will tell.
                let _ = client.transport.shut(Shutdown::Write);
            }
            self.watch(key);
            self.set_deadline(key);
        }
        self.leaving = leaving;
    }

    /// A read has brought nothing. Gives the number of bytes that came: none.
    pub(super) fn on_nothing_read(&mut self, key: Key, read: Result<usize, Errno>) -> usize {
        match read {
            Ok(_) => self.on_end_of_input(key),
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(errno) => self.on_broken(key, errno),
        }
    }

    /// Its input has ended. Gives the number of bytes that came: none.
    pub(super) fn on_end_of_input(&mut self, key: Key) -> usize {
        if let Some(client) = self.clients.get_mut(key) {
            client.ended_input = true;
            // What it said before is still to be done, once it is known who it is, or others have room. And a
            // listener whose input was shut here still gets what others have said before.
            if client.is_held_back() || client.is_shut {
                return 0;
            }
        }
        // It may have closed its half only.
        if !self.knock(key) {
            self.on_gone(key);
        }
        0
    }

    /// It has gone altogether, or there is nothing that it could still wait for.
    pub(super) fn on_gone(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.ended_input = true;
            // Someone who is already being closed may have waited only for this.
            if !client.is_open() {
                self.leaving.push(key);
            }
        }
        self.leave(key, Reason::ClientClosed);
    }

    /// Its connection does not work any more. Gives the number of bytes that came: none.
    pub(super) fn on_broken(&mut self, key: Key, errno: Errno) -> usize {
        match self.clients.get(key) {
            Some(client) if !client.is_open() => self.close_client(key),
            _ => self.leave(key, Reason::Broken(errno)),
        }
        0
    }

    /// The one place where a connection ends.
    pub(crate) fn close_client(&mut self, key: Key) {
        self.unsubscribe_all(key);
        self.end_lag(key);
        let Some(client) = self.clients.remove(key) else { return };
        self.poll.remove(&client.transport);
        if client.is_warned {
            self.warned -= 1;
            // Leaving may go on, in a turn of its own.
            self.timers.set(self.now + NEXT_TURN, Timer::Leave);
        }
        // One who came by HTTP, and has got what he was given, answers on another connection.
        if client.visit.is_none() || !client.owed.is_empty() {
            self.on_worker_gone(key);
        }
        self.checker.iter().for_each(|checker| checker.forget(key));
        let reason = client.ending.map_or(Reason::Leaving, |(reason, _)| reason);
        let (id, peer, name, owed) = (client.id, client.peer, client.name.as_deref(), client.owed.len());
        let http = client.visit.is_some();
        self.http.open -= usize::from(http);
        self.stats.count_closed(reason, http);
        self.stats.lost_bytes += owed as u64;
        if reason.is_slow() {
            tracing::warn!(client = id, %peer, name, %reason, lost_bytes = owed, "cut off");
        } else if owed > 0 || matches!(reason, Reason::Refused(_) | Reason::Malformed) {
            tracing::info!(client = id, %peer, name, %reason, lost_bytes = owed, "closed");
        } else {
            tracing::debug!(client = id, %peer, name, %reason, "closed");
        }
    }
}

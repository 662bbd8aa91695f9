//! Writing to a client: what it is owed goes out at the end of the turn, as far as its socket takes
//! it. What it is owed in the first place is decided elsewhere.

use super::Client;
use crate::http::Visit;
use crate::outbuf::Owed;
use crate::poll::{GONE_ONCE, HALF_CLOSED, NOTHING, READ, WRITE};
use crate::slots::Key;
use crate::stats::Reason;
use crate::{Daemon, Handler};
use nix::errno::Errno;

impl Daemon {
    /// Owes the client these bytes.
    pub(crate) fn reply(&mut self, key: Key, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let before = client.owed.len();
        client.owed.add(self.round.push(bytes));
        Self::mark_dirty(&mut self.dirty, key, client);
        if client.is_behind(before, self.config.max_pending.0) {
            self.leave(key, Reason::SlowPending);
        }
    }

    /// Puts the client on the list of those to be written to when the turn ends.
    #[inline]
    pub(crate) fn mark_dirty(dirty: &mut Vec<Key>, key: Key, client: &mut Client) {
        if !client.dirty {
            client.dirty = true;
            dirty.push(key);
        }
    }

    /// Ends the turn for everyone it produced something for: one write each.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            client.dirty = false;
            if client.blocked_since.is_none() {
                self.write_client(key);
            }
            if let Some(client) = self.clients.get_mut(key) {
                client.owed.settle(&self.round);
            }
        }
        self.dirty = dirty;
        self.round.begin();
    }

    /// Writes what the client is owed, as far as its socket takes it. Room to write is watched for
    /// only while something is left.
    pub(super) fn write_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let written = client.transport.write(&mut client.owed, &self.round, &mut self.gather);
        match written {
            Ok(_) if client.owed.is_empty() => {
                client.blocked_since = None;
                if !client.is_open() {
                    self.leaving.push(key);
                } else if client.visit.as_deref().is_some_and(Visit::is_answered) {
                    self.on_answer_written(key);
                }
            }
            Ok(taken) => {
                if taken > 0 || client.blocked_since.is_none() {
                    client.blocked_since = Some(self.now);
                }
                self.set_deadline(key);
            }
            Err(error) => {
                return self.on_unwritable(key, Errno::from_raw(error.raw_os_error().unwrap_or_default()));
            }
        }
        self.note_room(key);
        self.watch(key);
    }

    /// The peer has gone, and will not hear what it is owed. But what it sent before is still to be
    /// read: an SQL function has answered that it is sent. Reading to the end ends the connection.
    fn on_unwritable(&mut self, key: Key, errno: Errno) {
        match self.clients.get_mut(key) {
            Some(client) if client.is_open() && matches!(errno, Errno::EPIPE | Errno::ECONNRESET) => {
                self.stats.lost_bytes += client.owed.len() as u64;
                client.owed = Owed::default();
                client.blocked_since = None;
                self.end_lag(key);
                let Some(client) = self.clients.get_mut(key) else { return };
                // An answer over HTTP that was not got; a NATS worker may have acknowledged what is still to
                // be read.
                if client.visit.is_some() {
                    self.on_worker_gone(key);
                }
                self.unsubscribe_all(key);
                self.watch(key);
            }
            _ => {
                self.on_broken(key, errno);
            }
        }
    }

    /// Watches for what the client's state calls for.
    pub(crate) fn watch(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let ahead = client.is_open() && client.is_ahead();
        let read = match client.visit.as_deref() {
            _ if client.is_put_off => GONE_ONCE,
            _ if client.ended_input || client.is_waiting() => NOTHING,
            _ if client.is_held() => GONE_ONCE,
            Some(visit) if ahead && visit.may_be_knocked_at() => HALF_CLOSED,
            _ if ahead => NOTHING,
            _ => READ,
        };
        let write = if client.blocked_since.is_some() { WRITE } else { NOTHING };
        if client.watched != read | write {
            client.watched = read | write;
            if let Err(errno) = self.poll.want(&client.transport, Handler::Client as u8, key, read | write) {
                tracing::error!(%errno, client = client.id, "cannot change what is watched of a connection");
            }
        }
    }
}

//! More connections than there may be, after a limit was lowered and the files were read again: which of them end.
//!
//! nats-server closes any. Here the latest go first, who have the least to lose, and come back to be told so. SQL's
//! connections count, and stay: a thread of the database server whose connection was closed would connect anew at its
//! next call, be turned away, and drop events until others have gone.

use crate::Daemon;
use crate::client::{Client, TOO_MANY};
use crate::http::Visit;
use crate::listener::Peer;
use crate::slots::Key;
use crate::stats::Reason;
use std::cmp::Reverse;

impl Daemon {
    /// Ends as many connections as there are too many.
    pub(crate) fn close_surplus(&mut self) {
        let open = || self.clients.iter().filter(|(_, client)| client.is_open());
        let visitors = open().filter(|(_, client)| client.visit.is_some()).count();
        let nats = (open().count() - visitors).saturating_sub(self.connections_max);
        let http = visitors.saturating_sub(self.http.connections_max);
        let chosen = self.latest(nats, |client| client.visit.is_none() && !client.may_be_sql(), |_| false);
        for &key in &chosen {
            self.refuse(key, TOO_MANY);
        }
        // Those who are given nothing at the moment miss nothing.
        let visits = self.latest(http, |client| client.visit.is_some(), Client::is_served);
        for &key in &visits {
            self.send_visitor_away(key, "there are too many connections (max_http_connections)");
            self.leave(key, Reason::Served);
        }
        if nats + http > 0 {
            tracing::warn!(
                closed = chosen.len(),
                http_closed = visits.len(),
                over = nats - chosen.len(),
                "there were more connections than there may be now"
            );
        }
    }

    /// The latest of these that are open, at most so many; those that are to be spared come last.
    fn latest(&self, most: usize, of: fn(&Client) -> bool, spared: fn(&Client) -> bool) -> Vec<Key> {
        if most == 0 {
            return Vec::new();
        }
        let open = self.clients.iter().filter(|(_, client)| client.is_open() && of(client));
        let mut all: Vec<_> = open.map(|(key, client)| (spared(client), Reverse(client.id), key)).collect();
        all.sort_unstable_by_key(|&(spared, id, _)| (spared, id));
        all.into_iter().take(most).map(|(.., key)| key).collect()
    }
}

impl Client {
    /// Whether it is the library inside the database server, or may turn out to be.
    fn may_be_sql(&self) -> bool {
        matches!(self.peer, Peer::Unix) && (self.standing.is_library || self.lang.is_none())
    }

    /// Whether it speaks HTTP, and an answer is under way or awaited.
    fn is_served(&self) -> bool {
        self.waits() || self.visit.as_deref().is_some_and(Visit::is_busy)
    }
}

//! What the daemon tells of itself to whoever watches it: which pages there are, and where their
//! numbers come from. How each page is written stands in monitor/; how it travels, in http.rs.

mod connz;
mod metrics;
mod subsz;
mod usage;
mod varz;

use crate::client::Client;
use crate::listener::Peer;
use crate::outbox::Phase;
use crate::slots::Key;
use crate::subjects::INBOX;
use crate::{Daemon, http, mail, outbox};
use connz::Connection;
use std::time::{Duration, SystemTime};
use subsz::Shown;
pub(crate) use usage::Usage;

/// Things on one page unless asked otherwise: the reference's number.
const LIMIT: usize = 1024;

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// The status of HTTP.
    pub(crate) status: u16,
    /// The content type.
    pub(crate) kind: &'static str,
    /// The content.
    pub(crate) body: String,
}

/// What `/varz` and `/metrics` show, taken at one moment.
pub(crate) struct Snapshot<'a> {
    config: &'a crate::config::Config,
    stats: &'a crate::stats::Stats,
    server_id: &'a str,
    now: SystemTime,
    usage: Usage,
    connections: usize,
    subscriptions: usize,
    pending_bytes: usize,
    /// The outbox's own numbers; none in instant mode.
    outbox: Option<outbox::Numbers<'a>>,
    /// The mailbox's own numbers.
    mailbox: mail::Numbers,
    /// What was counted of HTTP.
    http: http::Numbers,
}

impl Daemon {
    /// The page of that path, if there is one. `query` is what stands behind the question mark.
    pub(crate) fn monitored(&mut self, path: &str, query: &str) -> Option<Page> {
        Some(match path {
            "/healthz" => Page::well(),
            "/readyz" => self.readiness(),
            "/varz" => Page::json(200, varz::render(&self.snapshot())),
            "/metrics" => metrics::page(&self.snapshot()),
            "/connz" => self.connections(query),
            "/subsz" => self.subscriptions(query),
            _ => return None,
        })
    }

    /// Whether work is to be sent here: not while it is leaving, nor while committed events wait
    /// because their server cannot be read.
    fn readiness(&self) -> Page {
        let why = match (self.is_leaving(), self.outbox_phase()) {
            (true, _) => "rowcalld is leaving".to_owned(),
            (false, Some(Phase::Starting)) => "the outbox's reader is starting".to_owned(),
            (false, Some(Phase::Waiting(why))) => format!("the outbox is not read: {why}"),
            (false, None | Some(Phase::StandingBy | Phase::Reading)) => return Page::well(),
        };
        Page::json(503, format!("{}\n", serde_json::json!({ "status": "unavailable", "error": why })))
    }

    fn snapshot(&mut self) -> Snapshot<'_> {
        self.usage.look(self.now);
        Snapshot {
            config: &self.config,
            stats: &self.stats,
            server_id: &self.server_id,
            now: self.wall_clock(),
            usage: self.usage,
            connections: self.clients.len() - self.http.open,
            subscriptions: self.subscriptions.len(),
            pending_bytes: self.clients.iter().map(|(_, client)| client.owed.len()).sum(),
            outbox: self.outbox_numbers(),
            mailbox: self.mail.numbers(),
            http: self.http_numbers(),
        }
    }

    /// The time of day at which this turn began.
    fn wall_clock(&self) -> SystemTime {
        self.stats.started + self.now.saturating_duration_since(self.began)
    }

    /// The same as text.
    pub(crate) fn time_stamp(&self) -> String {
        stamp(self.wall_clock())
    }

    /// Those who came by HTTP are shown while they listen.
    fn connections(&self, query: &str) -> Page {
        let wanted = match connz::Wanted::from_query(query) {
            Ok(wanted) => wanted,
            Err(wrong) => return Page::wrong(wrong),
        };
        let listens = |client: &Client| client.visit.is_none() || !client.subscriptions.is_empty();
        let all = self.clients.iter().filter(|(_, client)| listens(client));
        let mut page: Vec<_> = all.map(|(key, client)| self.connection(key, client)).collect();
        let total = page.len();
        wanted.choose(&mut page);
        let mut room = subsz::SHOWN_MAX;
        for connection in page.iter_mut().filter(|_| wanted.subscriptions.is_some()) {
            connection.subscriptions_shown = self.subscriptions_of(connection.key, &mut room);
        }
        Page::json(200, connz::render(&self.server_id, self.wall_clock(), total, &wanted, &page))
    }

    fn connection<'a>(&self, key: Key, client: &'a Client) -> Connection<'a> {
        let age = |then| self.now.saturating_duration_since(then);
        Connection {
            key,
            cid: client.id,
            kind: match client.peer {
                Peer::Unix => "unix",
                Peer::Tcp { .. } => "nats",
                Peer::Http { .. } => "http",
                Peer::Web { .. } => "websocket",
            },
            peer: client.peer.addresses().map(|(peer, _)| peer),
            user: client.standing.name(),
            age: age(client.since),
            idle: age(client.last_read),
            pending_bytes: client.owed.len(),
            traffic: client.traffic,
            subscriptions: client.subscriptions.len(),
            name: client.name.as_deref(),
            lang: client.lang.as_deref(),
            version: client.version.as_deref(),
            subscriptions_shown: Vec::new(),
        }
    }

    fn subscriptions_of(&self, key: Key, room: &mut usize) -> Vec<Shown<'_>> {
        let Some(client) = self.clients.get(key) else { return Vec::new() };
        let shown: Vec<_> =
            client.subscriptions.iter().take(*room).filter_map(|&key| self.shown(key)).collect();
        *room -= shown.len();
        shown
    }

    fn shown(&self, key: Key) -> Option<Shown<'_>> {
        let subscription = self.subscriptions.get(key)?;
        // Whoever knows an inbox may answer in another's place.
        if self.config.access.has_users() && subscription.filter.starts_with(INBOX) {
            return None;
        }
        Some(Shown {
            subject: &subscription.filter,
            queue: subscription.queue.as_deref(),
            sid: &subscription.sid,
            delivered: subscription.delivered,
            max: subscription.max,
            cid: self.clients.get(subscription.client).map_or(0, |client| client.id),
        })
    }

    fn subscriptions(&self, query: &str) -> Page {
        let wanted = match subsz::Wanted::from_query(query) {
            Ok(wanted) => wanted,
            Err(wrong) => return Page::wrong(wrong),
        };
        let index = self.subjects.activity();
        let listed = wanted.list.then(|| self.listed(&wanted));
        let (now, count) = (self.wall_clock(), self.subscriptions.len());
        Page::json(200, subsz::render(&self.server_id, now, count, &index, &wanted, listed))
    }

    /// How many subscriptions are to be listed, and those of them that go on this page.
    fn listed(&self, wanted: &subsz::Wanted) -> (usize, Vec<Shown<'_>>) {
        let page = wanted.offset..wanted.offset.saturating_add(wanted.limit);
        let (mut total, mut shown) = (0, Vec::new());
        for (key, _) in self.subscriptions.iter().filter(|(_, it)| wanted.is_about(&it.filter)) {
            if page.contains(&total) {
                shown.extend(self.shown(key));
            }
            total += 1;
        }
        (total, shown)
    }
}

impl Page {
    /// Says that all is as it should be.
    fn well() -> Page {
        Page::json(200, "{\"status\":\"ok\"}\n".into())
    }

    fn json(status: u16, body: String) -> Page {
        Page { status, kind: "application/json", body }
    }

    fn wrong(what: String) -> Page {
        Page { status: 400, kind: "text/plain; charset=utf-8", body: what + "\n" }
    }
}

/// A moment as RFC 3339 has it.
fn stamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap_or_default().to_string()
}

/// A time as the reference's tools show it: `1d2h3m4s`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let mut text = String::new();
    for (number, unit, shown) in [
        (days, 'd', days > 0),
        (hours, 'h', seconds >= 3600),
        (minutes, 'm', seconds >= 60),
        (seconds % 60, 's', true),
    ] {
        if shown {
            text += &format!("{number}{unit}");
        }
    }
    text
}

/// How many things are asked for; none is as many as usual.
fn limit(value: &str) -> Result<usize, String> {
    number("limit", value).map(|wanted| if wanted == 0 { LIMIT } else { wanted })
}

/// A number out of a query.
fn number(name: &str, value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{name}={value}: expected a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (3600, "1h0m0s"), (93_784, "1d2h3m4s")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}

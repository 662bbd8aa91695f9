//! HTTP, the loop's side of a connection: taking one in, feeding it, answering, what is due, its end. An
//! HTTP peer is a [`Client`] like any other, with a [`Visit`] that says what it is doing. What a request
//! does stands in http/exchange.rs, the pages about the daemon in http/pages.rs.

mod answer;
mod events;
mod exchange;
mod guard;
mod live;
mod login;
mod pages;
mod request;
mod resume;
mod tables;
pub(crate) mod target;
mod tokens;
mod upgrade;
pub(crate) mod visit;
mod work;

use crate::client::{Client, ROUND_MAX};
use crate::listener::Peer;
use crate::slots::Key;
use crate::stats::{Named, Reason};
use crate::{Daemon, NEXT_TURN, Timer};
use answer::{Answer, Manner};
use request::Flaw;
use serde::Serialize;
use std::os::fd::OwnedFd;
use tokens::Tokens;
use visit::{Awaited, Due, Step};
pub(crate) use visit::{Delivered, Visit};

/// Connections beyond the limit that are told so at a time; further ones are closed without a word.
pub(crate) const REFUSED_MAX: usize = 64;

/// What is known and counted of all who come by HTTP.
#[derive(Debug, Default)]
pub(crate) struct Http {
    /// Connections at the moment.
    pub(crate) open: usize,
    /// How many there may be.
    pub(crate) connections_max: usize,
    /// What workers have taken and not answered yet.
    tokens: Tokens,
    /// Connections taken.
    connections: u64,
    /// Requests that have come whole.
    requests: u64,
    /// Answers that say that a request was at fault: 4xx, 501, 505.
    refused: u64,
    /// Connections turned away because there were too many.
    turned_away: u64,
    /// Requests whose reply, and polls whose message, did not come in time.
    timed_out: u64,
}

impl Http {
    pub(crate) fn new(connections_max: usize) -> Http {
        Http { connections_max, ..Http::default() }
    }
}

impl Daemon {
    /// Takes a connection in that will speak HTTP.
    pub(crate) fn add_visitor(&mut self, fd: OwnedFd, peer: Peer) {
        if self.http.open >= self.http.connections_max + REFUSED_MAX {
            self.http.turned_away += 1;
            return;
        }
        let visit = Box::new(Visit::new(self.now));
        let Some(key) = self.take_in(fd, peer, Some(visit)) else { return };
        self.http.open += 1;
        self.http.connections += 1;
        if self.http.open > self.http.connections_max {
            self.http.turned_away += 1;
            // Before the handshake he could not read it.
            if self.is_secret(peer) {
                return self.leave(key, Reason::Served);
            }
            let answer = Answer::text(503, "there are too many connections (max_http_connections)");
            self.answer_last(key, &answer.field("Retry-After", "1"));
        }
        self.set_deadline(key);
    }

    /// Does, one after the other, what the requests in these bytes ask for; keeps what has to wait.
    pub(crate) fn feed_visit(&mut self, key: Key, mut bytes: &[u8]) {
        let body_max = self.config.max_payload.0;
        while let Some(client) = self.clients.get_mut(key).filter(|client| client.is_open()) {
            // It has been a NATS client within WebSocket since a moment ago.
            let Some(visit) = client.visit.as_deref_mut() else { return self.take_frames(key, bytes) };
            match visit.take(&mut bytes, self.now, body_max) {
                Ok(Step::Wait) => {
                    self.ask_for_body(key, bytes);
                    self.keep_partial(key, bytes, 0);
                    break;
                }
                Ok(Step::Head) => self.judge(key),
                Ok(Step::Whole(head, body)) => {
                    self.http.requests += 1;
                    self.on_request(key, head, body);
                }
                Err(flaw) => self.refuse_flaw(key, flaw),
            }
            if self.clients.get(key).is_some_and(Client::is_waiting) || (!bytes.is_empty() && self.pause(key))
            {
                self.keep_partial(key, bytes, 0);
                break;
            }
            if self.round.len() > ROUND_MAX {
                self.flush();
            }
        }
        self.watch(key);
        self.set_deadline(key);
    }

    /// One request a turn: who sends many ahead shares the loop with everyone else, and is answered no faster
    /// than he reads. Says whether one has just been answered.
    fn pause(&mut self, key: Key) -> bool {
        let now = self.now;
        self.visit(key).is_some_and(|visit| visit.pause(now))
    }

    /// All that an HTTP peer was owed is written: what it has sent ahead may be looked at.
    pub(crate) fn on_answer_written(&mut self, key: Key) {
        self.timers.set(self.now + NEXT_TURN, Timer::Client(key));
    }

    /// Asks for a body that its sender keeps back until then.
    fn ask_for_body(&mut self, key: Key, bytes: &[u8]) {
        if bytes.is_empty() && self.visit(key).is_some_and(Visit::asks_for_body) {
            self.reply(key, answer::CONTINUE);
        }
    }

    /// A peer has closed its half of the connection. It may wait for its answer all the same, or have gone
    /// altogether, which nothing tells apart until something is said to it: so it is told what it
    /// would be told in any case, and if it has gone the kernel comes back with that. Says no if it waits for
    /// nothing.
    pub(crate) fn knock(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key).filter(|client| client.is_open()) else { return false };
        let last = !client.has_partial();
        let words = client.visit.as_deref_mut().and_then(|visit| visit.knock(last));
        if let Some(words) = words.filter(|words| !words.is_empty()) {
            self.reply(key, words);
        }
        self.watch(key);
        words.is_some()
    }

    /// Looks at a head before its body is read: who may not ask is told so at once.
    fn judge(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let Some(head) = client.visit.as_deref().and_then(Visit::head) else { return };
        if upgrade::is_wanted(head) {
            return self.upgrade(key);
        }
        let has_body = head.has_body();
        let judged = self.admit(client, head);
        let Some(visit) = self.visit(key) else { return };
        match judged {
            Ok(origin) => {
                visit.name_origin(origin);
                self.identify(key);
            }
            Err(answer) if has_body => self.answer_last(key, &answer),
            Err(answer) => self.answer(key, &answer),
        }
    }

    /// Someone speaks HTTP in clear text where it is wanted in TLS.
    pub(crate) fn answer_clear_text(&mut self, key: Key) {
        self.answer_last(key, &Answer::text(400, "here HTTP is spoken in TLS only: https://"));
    }

    fn visit(&mut self, key: Key) -> Option<&mut Visit> {
        self.clients.get_mut(key)?.visit.as_deref_mut()
    }

    fn refuse_flaw(&mut self, key: Key, flaw: Flaw) {
        let (status, why) = flaw.answer();
        self.answer_last(key, &Answer::text(status, why));
    }

    /// Answers the current request; then the next may come, unless it was the last.
    fn answer(&mut self, key: Key, answer: &Answer<'_>) {
        let now = self.now;
        let Some(visit) = self.visit(key) else { return };
        let manner = visit.manner().clone();
        visit.answered(now);
        self.write_answer(key, answer, &manner);
        if !manner.keep {
            self.leave(key, Reason::Served);
        }
    }

    /// Answers, and ends the connection: what may follow cannot be made sense of, or is not wanted.
    fn answer_last(&mut self, key: Key, answer: &Answer<'_>) {
        if let Some(visit) = self.visit(key) {
            visit.keep_no_more();
            self.answer(key, answer);
        }
    }

    fn write_answer(&mut self, key: Key, answer: &Answer<'_>, manner: &Manner) {
        if matches!(answer.status, 400..=499 | 501 | 505) {
            self.http.refused += 1;
        }
        let mut bytes = Vec::new();
        answer.write(&mut bytes, manner);
        self.reply(key, &bytes);
    }

    /// One of its deadlines may have passed.
    pub(crate) fn on_visit_due(&mut self, key: Key) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(key) else { return };
        let owing = !client.owed.is_empty();
        let Some(visit) = client.visit.as_deref_mut() else { return };
        match visit.due(now, owing) {
            Some(Due::Next) => self.go_on(key),
            Some(Due::End | Due::NotResumed) => self.leave(key, Reason::Served),
            Some(Due::Late) => self.answer_last(key, &Answer::text(408, "the request did not come in time")),
            Some(Due::TimedOut(what)) => {
                self.http.timed_out += 1;
                self.unsubscribe_all(key);
                self.withdraw(key);
                self.answer(key, &nothing_came(what));
                self.go_on(key);
            }
            Some(Due::Comment) => self.reply(key, events::COMMENT),
            None => {}
        }
    }

    /// Looks at what was sent behind the request that has been answered.
    fn go_on(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let rest = client.take_partial();
        self.feed_visit(key, &rest);
        self.end_if_said_all(key);
    }

    /// Does what a request asks for that had to wait until others had room.
    pub(crate) fn go_on_with_request(&mut self, key: Key) {
        if let Some((head, body)) = self.visit(key).and_then(Visit::take_up) {
            self.on_request(key, head, body);
        }
        self.go_on(key);
    }

    /// The connection is to end: whoever waits for something is told that it will not come, and why.
    pub(crate) fn send_visitor_away(&mut self, key: Key, why: &'static str) {
        let waits = self.clients.get(key).is_some_and(Client::is_waiting);
        let Some(visit) = self.visit(key) else { return };
        if visit.is_stream() {
            self.reply(key, events::FAREWELL);
        } else if visit.awaits().is_some() || waits {
            self.answer_last(key, &Answer::text(503, why).field("Retry-After", "1"));
        }
    }

    /// What was counted of HTTP, for whoever asks over it.
    pub(crate) fn http_numbers(&self) -> Numbers {
        let (open, counts) = self.http.tokens.account(self.now);
        Numbers {
            connections: self.http.open,
            total_connections: self.http.connections,
            turned_away: self.http.turned_away,
            requests: self.http.requests,
            refused: self.http.refused,
            timed_out: self.http.timed_out,
            closed: self.stats.closed(true),
            tokens: TokenNumbers { open, counts },
        }
    }
}

/// The numbers of HTTP; their names in JSON are these.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Numbers {
    pub(crate) connections: usize,
    pub(crate) total_connections: u64,
    pub(crate) turned_away: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
    pub(crate) closed: Named<{ Reason::NAMES.len() }>,
    tokens: TokenNumbers,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct TokenNumbers {
    open: usize,
    #[serde(flatten)]
    counts: tokens::Counts,
}

fn nothing_came(what: Awaited) -> Answer<'static> {
    match what {
        Awaited::Reply => Answer::text(504, "no reply came in time"),
        Awaited::Message | Awaited::Work => Answer::empty(204),
        Awaited::Tables(_) => Answer::text(504, "the database server did not answer in time"),
    }
}

impl Client {
    /// Whether it waits for something, or to be known, and is not listened to meanwhile.
    pub(crate) fn waits(&self) -> bool {
        self.is_waiting()
            || self.visit.as_deref().is_some_and(|visit| visit.awaits().is_some() || visit.is_stream())
    }

    /// Whether it waits for the reply to its request, which needs no right of its own.
    pub(crate) fn awaits_reply(&self) -> bool {
        self.visit.as_deref().is_some_and(|visit| visit.awaits() == Some(Awaited::Reply))
    }

    /// Whether nothing more is to be read from it before it is answered: what it sent ahead is kept, and
    /// that shall not grow.
    pub(crate) fn is_ahead(&self) -> bool {
        self.has_partial() && self.visit.as_deref().is_some_and(Visit::is_busy)
    }
}

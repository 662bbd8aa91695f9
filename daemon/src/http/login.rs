//! Who asks over HTTP, and whether they may: the credentials of a request, and what is answered when they
//! are wrong or not enough. What credentials are worth is decided in auth.

use super::answer::Answer;
use super::request::{Head, Method};
use super::target::{Call, Target};
use super::visit::Visit;
use crate::Daemon;
use crate::auth::login::{Credentials, Outcome};
use crate::auth::permissions::Rights;
use crate::listener::Peer;
use crate::slots::Key;
use crate::stats::Stats;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rowcall_wire::subject;
use std::time::Instant;

/// When someone may try again whose credentials could not be looked at, in seconds: attempts come back
/// one by one.
const AGAIN: &str = "5";

impl Daemon {
    /// Finds out who asks, before the body is read: every request says it anew. Nothing of the connection
    /// is read meanwhile.
    pub(super) fn identify(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let Some(head) = client.visit.as_deref().and_then(Visit::head) else { return };
        if !self.config.access.has_users() || is_open(head, client.peer) {
            return;
        }
        match head.value("authorization").map(credentials) {
            Some(Some(shown)) => self.log_in(key, shown),
            Some(None) => self.on_login(key, Outcome::Wrong),
            // Browsers and libraries ask first without.
            None => self.turn_away(key, &unauthorized()),
        }
    }

    /// Someone's credentials are not good enough, or cannot be looked at now.
    pub(crate) fn answer_login(&mut self, key: Key, outcome: &Outcome) {
        let answer = match outcome {
            Outcome::Busy => {
                Answer::text(429, "too many failed logins; try again later").field("Retry-After", AGAIN)
            }
            _ => unauthorized(),
        };
        self.turn_away(key, &answer);
    }

    fn turn_away(&mut self, key: Key, answer: &Answer<'_>) {
        let head = self.clients.get(key).and_then(|client| client.visit.as_deref()?.head());
        match head.is_some_and(Head::has_body) {
            true => self.answer_last(key, answer),
            false => self.answer(key, answer),
        }
    }

    /// Whether whoever asks may publish to this subject.
    pub(super) fn permit_publish(&mut self, key: Key, subject: &[u8]) -> Result<(), Answer<'static>> {
        let may = !subject::is_reserved(subject)
            && self.rights(key).is_some_and(|rights| rights.may_publish(subject));
        self.permit(may, |stats| &mut stats.forbidden_publish, "publish to this subject")
    }

    /// Whether whoever asks was given this right by its name. Where there are no users, everybody has it.
    pub(super) fn permit_named(&mut self, key: Key, subject: &[u8]) -> Result<(), Answer<'static>> {
        let open = !self.config.access.has_users();
        let may = open || self.rights(key).is_some_and(|rights| rights.is_named(subject));
        self.permit(may, |stats| &mut stats.forbidden_publish, "publish to this subject")
    }

    /// Whether whoever asks may know how it goes: who may hear anything.
    pub(super) fn permit_asking(&mut self, key: Key) -> Result<(), Answer<'static>> {
        let may = self.rights(key).is_some_and(Rights::hears_something);
        self.permit(may, |stats| &mut stats.forbidden_subscribe, "ask this, as it may subscribe to nothing")
    }

    /// Whether whoever asks may answer a request that he was given then: his token shows that he was.
    pub(super) fn permit_reply(
        &mut self,
        key: Key,
        reply: &[u8],
        since: Instant,
    ) -> Result<(), Answer<'static>> {
        let age = self.now - since;
        let may = self.rights(key).is_some_and(|rights| rights.may_reply(reply, age));
        self.permit(may, |stats| &mut stats.forbidden_publish, "answer this request, or not any more")
    }

    /// Whether whoever asks may say what has become of a durable consumer's event.
    pub(super) fn permit_settling(&mut self, key: Key, receipt: &[u8]) -> Result<(), Answer<'static>> {
        let may =
            self.rights(key).is_some_and(|rights| rights.may_publish(receipt)) || self.may_work(key, receipt);
        self.permit(may, |stats| &mut stats.forbidden_publish, "settle this consumer's events")
    }

    /// Whether whoever asks may hear what this filter matches.
    pub(super) fn permit_subscribe(
        &mut self,
        key: Key,
        filter: &[u8],
        queue: Option<&[u8]>,
    ) -> Result<(), Answer<'static>> {
        let may = self.rights(key).is_some_and(|rights| rights.may_subscribe(filter, queue));
        self.permit(may, |stats| &mut stats.forbidden_subscribe, "subscribe to this subject")
    }

    fn permit(
        &mut self,
        may: bool,
        counter: fn(&mut Stats) -> &mut u64,
        what: &str,
    ) -> Result<(), Answer<'static>> {
        if may {
            return Ok(());
        }
        *counter(&mut self.stats) += 1;
        Err(Answer::text(403, &format!("this user may not {what}")))
    }
}

/// What is answered to whoever asks: whether the daemon is there, and whether a browser may ask at all,
/// which it finds out without credentials. And on this machine the pages that hold nothing but numbers.
fn is_open(head: &Head, peer: Peer) -> bool {
    match Target::parse(&head.target).and_then(|target| target.call()) {
        _ if head.method == Method::Options => true,
        Some(Call::File(_) | Call::Page("/healthz" | "/readyz")) => true,
        Some(Call::Page("/varz" | "/metrics")) => peer.is_near(),
        _ => false,
    }
}

fn unauthorized() -> Answer<'static> {
    Answer::text(401, "log in: Authorization with Basic (user and password) or Bearer (token)")
        .field("WWW-Authenticate", "Basic realm=\"rowcalld\", charset=\"UTF-8\"")
}

/// What the header shows; `None` if that is nothing we know.
fn credentials(header: &[u8]) -> Option<Credentials> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some(Credentials::Password { name: name.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_header_shows() {
        let basic = |pair: &str| credentials(format!("Basic {}", STANDARD.encode(pair)).as_bytes());
        let Some(Credentials::Password { name, password }) = basic("ada:a:b") else { panic!() };
        assert_eq!((&*name, &*password), ("ada", "a:b"), "a password may hold colons");
        assert!(matches!(credentials(b"bearer  t0k "), Some(Credentials::Token(token)) if token == "t0k"));
        for wrong in [&b"Basic"[..], b"Basic !", b"Digest x", b"", b"\xff \xff"] {
            assert!(credentials(wrong).is_none(), "{wrong:?}");
        }
        assert!(basic("nobody").is_none());
    }
}

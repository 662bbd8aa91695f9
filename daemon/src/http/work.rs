//! Workers who come by HTTP: they take one request, or one event of a durable consumer, and answer it on
//! whatever connection, by its token.
//!
//! An event counts as with its worker from when the answer that holds it is owed to him. If he goes before
//! all of it was written, it is taken back at once; if he goes later, nobody knows how far he came, and it
//! comes again when the consumer's ack wait is over. So he may hang up between taking and answering.

use super::answer::Answer;
use super::exchange::{Outcome, bad_request, check_filter, secret};
use super::request::Head;
use super::visit::{Awaited, Delivered};
use super::{Http, target::Verdict};
use crate::Daemon;
use crate::auth::Standing;
use crate::client::Client;
use crate::outbuf::Round;
use crate::slots::Key;
use rowcall_wire::Message;
use std::time::{Duration, Instant};

/// The queue group of a worker who names none: each request goes to one of them.
pub(super) const QUEUE: &str = "workers";

impl Http {
    /// Hands a message to an HTTP peer; a worker gets a token with it, if an answer is wanted. `None` if
    /// it waits for none, or if no token can be made. `ours` says that it comes from the outbox.
    pub(crate) fn deliver(
        &mut self,
        client: &mut Client,
        round: &mut Round,
        message: &Message<'_>,
        ours: bool,
        now: Instant,
    ) -> Option<Delivered> {
        let visit = client.visit.as_deref_mut()?;
        let mut token = None;
        if visit.awaits() == Some(Awaited::Work)
            && let Some(reply) = message.reply
        {
            let secret = secret().ok()?;
            self.tokens.give(holder(&client.standing), &secret, reply, now);
            token = Some(secret);
        }
        visit.deliver(round, &mut client.owed, message, ours, token.as_deref())
    }
}

impl Daemon {
    pub(super) fn post_work(&mut self, key: Key, filter: &[u8], queue: &str, time: Duration) -> Outcome {
        check_filter(filter)?;
        if queue.is_empty() || !queue.bytes().all(|byte| byte > b' ' && byte != 0x7f) {
            return Err(bad_request("queue: expected a name without blanks".into()));
        }
        self.permit_subscribe(key, filter, Some(queue.as_bytes()))?;
        self.await_message(key, filter, Some(queue.as_bytes()), Awaited::Work, time);
        self.on_new_worker(filter);
        Ok(None)
    }

    /// Answers a request that a worker has taken.
    pub(super) fn post_reply(&mut self, key: Key, token: &str, head: &Head, body: &[u8]) -> Outcome {
        let (reply, since) = self.reply_of(key, token)?;
        if self.answered(&reply).is_some() {
            return Err(Answer::text(
                409,
                "this is a durable consumer's event; ack, nak, term or progress it",
            ));
        }
        self.permit_reply(key, &reply, since)?;
        let (body, header_len) = self.message_of(&reply, head, body)?;
        self.http.tokens.used(token);
        let heard =
            self.on_permitted(key, &Message { subject: &reply, reply: None, body: &body, header_len });
        Ok(Some(Answer::json(format!("{{\"heard\":{heard}}}\n"))))
    }

    /// Says what has become of an event that a worker has taken.
    pub(super) fn post_verdict(
        &mut self,
        key: Key,
        verdict: Verdict,
        token: &str,
        delay: Option<Duration>,
    ) -> Outcome {
        let (reply, _) = self.reply_of(key, token)?;
        if self.answered(&reply).is_none() {
            return Err(Answer::text(409, "this is a request; answer it with /reply"));
        }
        self.permit_settling(key, &reply)?;
        let words = match (verdict, delay) {
            (Verdict::Ack, _) => "+ACK".into(),
            (Verdict::Term, _) => "+TERM".into(),
            (Verdict::Progress, _) => "+WPI".into(),
            (Verdict::Nak, None) => "-NAK".into(),
            (Verdict::Nak, Some(delay)) => format!("-NAK {{\"delay\": {}}}", delay.as_nanos()),
        };
        match verdict {
            Verdict::Progress => self.http.tokens.renew(token, self.now),
            _ => self.http.tokens.used(token),
        }
        self.on_permitted(key, &Message::plain(&reply, words.as_bytes()));
        Ok(Some(Answer::empty(204)))
    }

    /// Where the answer to this token would go.
    pub(super) fn awaits_answer(&self, key: Key, token: &str) -> Option<Vec<u8>> {
        let user = self.clients.get(key).map(|client| holder(&client.standing)).unwrap_or_default();
        self.http.tokens.peek(user, token).map(|(reply, _)| reply.to_vec())
    }

    /// Where the answer to this token goes and since when it is awaited, if whoever asks is the one to whom it
    /// was given.
    fn reply_of(&mut self, key: Key, token: &str) -> Result<(Vec<u8>, Instant), Answer<'static>> {
        let user = self.clients.get(key).map(|client| holder(&client.standing)).unwrap_or_default();
        let found = self.http.tokens.find(user, token, self.now);
        found.map(|(reply, since)| (reply.to_vec(), since)).ok_or_else(|| {
            let why = "this token is not known: it was used, it is too old, the daemon was started since, or it \
                       was given to another user";
            Answer::text(404, why)
        })
    }
}

/// By which name someone holds tokens. Those who need not log in have none, and hold theirs together.
fn holder(standing: &Standing) -> &str {
    standing.name().unwrap_or_default()
}

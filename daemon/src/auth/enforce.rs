//! Where the daemon asks the rules, and what someone is told who wants what is not allowed. SQL is told
//! in a way that the library understands, which reads only while it waits for something: an answer
//! that says why there is none.

use super::permissions::Rights;
use crate::Daemon;
use crate::mail;
use crate::outbox::{consumer_of, delivery_subject};
use crate::publish::is_reserved;
use crate::slots::Key;
use crate::stats::Reason;
use rowcall_wire::{Message, headers, subject};

/// The word for it that SQL is told (`rowcall_last_error()`), that `rowcall.parked` holds too.
pub(crate) const FORBIDDEN: &str = "forbidden";

impl Daemon {
    /// What a client may do; `None` if it is gone or has not logged in.
    pub(crate) fn rights(&self, key: Key) -> Option<&Rights> {
        self.clients.get(key)?.standing.rights()
    }

    /// Whether a client may publish this; if not, it is told so.
    pub(crate) fn may_publish(&mut self, from: Key, message: &Message<'_>) -> bool {
        let now = self.now;
        let Some(client) = self.clients.get_mut(from) else { return false };
        let may = match is_reserved(message) {
            true => self.may_settle(from, message),
            false => client.standing.may_publish(message.subject, now),
        };
        if !may {
            self.forbid_publish(from, message);
        }
        may
    }

    /// Whether this is an answer to a delivery of a durable consumer, from a connection that may give it:
    /// the one that was given the event, one that works for the consumer, or one whose user was given
    /// the right by its name. Receipts are easy to guess, so a right to publish to `>` is not enough.
    fn may_settle(&mut self, from: Key, message: &Message<'_>) -> bool {
        if message.reply.is_some_and(subject::is_reserved) {
            return false;
        }
        let Some(receipt) = self.answered(message.subject) else { return false };
        self.outbox.as_ref().is_some_and(|outbox| outbox.is_with(&receipt, from))
            || self.workers(receipt.consumer).iter().any(|&(_, worker)| worker == from)
            || self.rights(from).is_some_and(|rights| rights.is_named(message.subject))
    }

    /// Whether a client may work for the consumer of this delivery.
    pub(crate) fn may_work(&self, from: Key, subject: &[u8]) -> bool {
        let Some(receipt) = self.answered(subject) else { return false };
        let subject = delivery_subject(receipt.consumer);
        self.rights(from).is_some_and(|rights| rights.may_subscribe(subject.as_bytes(), None))
    }

    fn forbid_publish(&mut self, from: Key, message: &Message<'_>) {
        let Some(client) = self.clients.get(from) else { return };
        if !client.standing.is_library {
            self.stats.forbidden_publish += 1;
            let subject = quoted(message.subject);
            return self.complain(from, &format!("Permissions Violation for Publish to {subject}"));
        }
        self.stats.forbidden_sql += 1;
        let (body, header_len) = forbidden();
        match message.reply.map(|inbox| (inbox, mail::ticket_of(inbox))) {
            Some((_, Some(ticket))) => {
                self.open_letter(ticket);
                self.on_mail(ticket, &body, header_len);
            }
            Some((inbox, None)) => {
                let answer = Message { subject: inbox, reply: None, body: &body, header_len };
                self.tell_asker(from, &answer);
            }
            None => {}
        }
    }

    /// Whether a client may subscribe to this; if not, it is told so.
    pub(crate) fn may_subscribe(
        &mut self,
        key: Key,
        filter: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> bool {
        // SQL cannot acknowledge: whatever it took would come again, and be parked after some times.
        let in_vain = consumer_of(filter).is_some()
            && self.clients.get(key).is_some_and(|client| client.standing.is_library);
        let may = !in_vain && self.rights(key).is_some_and(|rights| rights.may_subscribe(filter, queue));
        if !may {
            self.forbid_subscription(key, filter, queue, sid);
        }
        may
    }

    /// Tells a client that it may not, or no longer, subscribe to this.
    pub(crate) fn forbid_subscription(&mut self, key: Key, filter: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        let Some(client) = self.clients.get(key) else { return };
        if client.standing.is_library {
            self.stats.forbidden_sql += 1;
            let (body, header_len) = forbidden();
            let answer = Message { subject: filter, reply: None, body: &body, header_len };
            return self.answer_on(key, sid, &answer);
        }
        self.stats.forbidden_subscribe += 1;
        // A stream of events that has lost a subject ends; whoever asks again is told why.
        if client.visit.is_some() {
            return self.leave(key, Reason::Refused(FORBIDDEN));
        }
        let mut text = format!("Permissions Violation for Subscription to {}", quoted(filter));
        if let Some(queue) = queue {
            text.push_str(&format!(" using queue {}", quoted(queue)));
        }
        self.complain(key, &text);
    }
}

/// The answer that says that it is not allowed, and how long its headers are: that is all it has.
fn forbidden() -> (Vec<u8>, usize) {
    let mut body = Vec::new();
    let header_len = headers::block(&mut body, [(headers::NO_REPLY.as_bytes(), FORBIDDEN.as_bytes())]);
    (body, header_len)
}

/// A subject in quotes, as the reference writes it in errors, where clients take it apart: Go's %q.
fn quoted(subject: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in subject.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                '\x0b' => text.push_str("\\v"),
                '\x0c' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\0'..' ' | '\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                _ if c.is_control() || (c.is_whitespace() && c != ' ') => {
                    text.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                _ => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_quoted_as_go_does() {
        let check = |subject: &[u8], expected: &str| assert_eq!(quoted(subject), expected);
        check(b"shop.orders", "\"shop.orders\"");
        check("größe.€".as_bytes(), "\"größe.€\"");
        check(b"a\"b\\c", r#""a\"b\\c""#);
        check(b"a\x01\x07\x7f\xff\xc3", r#""a\x01\a\x7f\xff\xc3""#);
        check("\u{85}\u{2028}".as_bytes(), r#""\u0085\u2028""#);
        check(b"it's", "\"it's\"");
    }
}

//! Streams that begin, and streams that go on where an earlier one has ended (`Last-Event-ID`): first what
//! still waits for a durable consumer, then what comes. What is found again is read by the reader's thread
//! (outbox/ledger/recall.rs).
//!
//! Nothing is missed in between: the reader looks for it after it has written down what was handed on
//! before, and reads the outbox again only behind the answer, which lies on the desk in that order. And
//! nothing that comes is sent before it: the browser would ask from that one on next time.

use super::events::{self, Form};
use crate::Daemon;
use crate::auth::enforce::FORBIDDEN;
use crate::outbox::{After, Asked, Recalled};
use crate::slots::Key;
use crate::stats::Reason;
use rowcall_wire::Message;

/// Said when a stream cannot go on where an earlier one has ended. What is missed is said as an event as well, as
/// no page can read a comment. (No blank before the data: older commands take what has one for a message.)
const NO_OUTBOX: &[u8] =
    b": not resumed, as this daemon reads no outbox\nevent: gap\ndata:{\"reason\":\"no_outbox\"}\n\n";
/// Said when everything was sent that was found: what follows is new.
const RESUMED: &[u8] = b": resumed\n\n";
/// Said when more has waited than was looked at.
const INCOMPLETE: &[u8] = b": resumed; of what has waited longest not everything was looked at\n\
                            event: gap\ndata:{\"reason\":\"incomplete\"}\n\n";

impl Daemon {
    /// Begins a stream of these filters, after that event if one is named.
    pub(super) fn begin_events(&mut self, key: Key, form: Form, filters: Vec<Vec<u8>>, after: Option<After>) {
        let now = self.now;
        let Some(visit) = self.visit(key) else { return };
        visit.keep_no_more();
        let mut bytes = Vec::new();
        events::head(&mut bytes, visit.manner());
        self.reply(key, &bytes);
        let asked = after.map(|after| match &self.outbox {
            Some(outbox) => outbox.recall(key, after, &filters),
            None => Asked::Nobody,
        });
        match asked {
            None => self.go_live(key, form, &filters),
            Some(Asked::Yes) => {
                self.visit(key).into_iter().for_each(|visit| visit.resume(form, filters.clone(), now));
            }
            // It comes again by itself.
            Some(Asked::NotNow) => self.end_stream(key, form),
            Some(Asked::Nobody) => {
                self.reply(key, NO_OUTBOX);
                self.go_live(key, form, &filters);
            }
        }
    }

    fn go_live(&mut self, key: Key, form: Form, filters: &[Vec<u8>]) {
        let now = self.now;
        self.visit(key).into_iter().for_each(|visit| visit.stream(form, now));
        for (n, filter) in filters.iter().enumerate() {
            self.subscribe(key, filter, None, n.to_string().as_bytes());
        }
    }

    fn end_stream(&mut self, key: Key, form: Form) {
        let now = self.now;
        self.visit(key).into_iter().for_each(|visit| visit.stream(form, now));
        self.leave(key, Reason::Served);
    }

    /// What was asked for has been found.
    pub(crate) fn on_recalled(&mut self, recalled: &Recalled) {
        let key = recalled.client;
        let Some((form, filters)) = self.visit(key).and_then(|visit| visit.resumed()) else { return };
        // Not by way of `rights`, which would keep the counters from being counted up.
        let Some(rights) = self.clients.get(key).and_then(|client| client.standing.rights()) else { return };
        // The file of users may have been read anew since it was asked for.
        if !filters.iter().all(|filter| rights.may_subscribe(filter, None)) {
            self.stats.forbidden_subscribe += 1;
            return self.leave(key, Reason::Refused(FORBIDDEN));
        }
        let mut bytes = Vec::new();
        for event in recalled.events.iter().filter(|event| rights.may_receive(&event.subject)) {
            let (subject, body, header_len) = (&event.subject, &event.body, event.header_len);
            events::event(&mut bytes, form, &Message { subject, reply: None, body, header_len }, true);
            self.stats.out_msgs += 1;
            self.stats.out_bytes += body.len() as u64;
        }
        // The browser is to go on behind all of this, whatever of it was sent: an id without data is only kept.
        if let Some(last) = &recalled.more {
            bytes.extend_from_slice(format!("id: {last}\n\n").as_bytes());
        }
        if !recalled.complete {
            bytes.extend_from_slice(INCOMPLETE);
        }
        if recalled.more.is_none() {
            bytes.extend_from_slice(RESUMED);
        }
        self.reply(key, &bytes);
        // The rest is for its next stream, which begins where this one ends.
        if recalled.more.is_some() { self.end_stream(key, form) } else { self.go_live(key, form, &filters) }
    }
}

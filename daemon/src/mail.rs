//! How mail travels: a request from SQL whose reply shall be kept, the reply, the question for it. What
//! is kept, and for how long, stands in mailbox.rs.
//!
//! Only the library, on the Unix socket, opens letters and asks for them; replies come from anywhere.

use crate::mailbox::{Answer, Fate, Limits, Mailbox};
use crate::publish::Asker;
use crate::slots::Key;
use crate::stats::Named;
use crate::timers::Soonest;
use crate::{Daemon, Timer};
use rowcall_wire::{Message, headers, subject};
use serde::Serialize;
use std::time::Duration;

/// The mailbox, and when it is looked at next.
pub(crate) struct Mail {
    mailbox: Mailbox<Asker>,
    /// The deadline set for it.
    deadline: Soonest,
}

impl Mail {
    pub(crate) fn new(limits: Limits) -> Mail {
        Mail { mailbox: Mailbox::new(limits), deadline: Soonest::default() }
    }

    /// How many letters there are.
    pub(crate) fn len(&self) -> usize {
        self.mailbox.len()
    }

    /// What it holds and what it has counted, for whoever asks over HTTP.
    pub(crate) fn numbers(&self) -> Numbers {
        let counts = self.mailbox.counts();
        let (kept, kept_bytes) = self.mailbox.kept();
        Numbers {
            waiting: self.mailbox.len() - kept,
            kept,
            kept_bytes,
            asking: self.mailbox.asking(),
            submitted: counts.opened,
            replies: counts.replies,
            unwanted_replies: counts.unwanted,
            forgotten: counts.forgotten,
            gone: Named { names: Fate::NAMES, counts: counts.gone },
        }
    }
}

/// The numbers of the mailbox; their names in JSON are these.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Numbers {
    pub(crate) waiting: usize,
    pub(crate) kept: usize,
    pub(crate) kept_bytes: usize,
    pub(crate) asking: usize,
    pub(crate) submitted: u64,
    pub(crate) replies: u64,
    pub(crate) unwanted_replies: u64,
    pub(crate) forgotten: u64,
    #[serde(flatten)]
    pub(crate) gone: Named<{ Fate::NAMES.len() }>,
}

/// The ticket, if this is where a reply is to be kept for one.
pub(crate) fn ticket_of(subject: &[u8]) -> Option<&[u8]> {
    subject.strip_prefix(subject::MAIL)
}

impl Daemon {
    /// A request was submitted; its reply shall be kept.
    pub(crate) fn open_letter(&mut self, ticket: &[u8]) {
        self.mail.mailbox.open(ticket, self.now);
        self.post();
    }

    /// A reply has come for this ticket.
    pub(crate) fn on_mail(&mut self, ticket: &[u8], body: &[u8], header_len: usize) {
        self.mail.mailbox.reply(ticket, body, header_len);
        self.post();
    }

    /// Nobody took the request: that is its reply.
    pub(crate) fn on_nobody(&mut self, ticket: &[u8]) {
        self.stats.no_responders += 1;
        self.on_mail(ticket, headers::NO_RESPONDERS, headers::NO_RESPONDERS.len());
    }

    /// The library asks for a reply.
    pub(crate) fn on_result(&mut self, client: Key, question: &Message<'_>) {
        let (Some(inbox), Some((timeout, ticket))) = (question.reply, split(question.payload())) else {
            return;
        };
        let asker = Asker { client, inbox: inbox.into() };
        if !ticket.starts_with(self.server_id.as_bytes()) {
            return self.tell_no_reply(&asker, "other_daemon");
        }
        self.mail.mailbox.ask(ticket, asker, self.now + timeout, self.now);
        self.post();
    }

    /// The library has got a reply.
    pub(crate) fn on_taken(&mut self, ticket: &[u8]) {
        self.mail.mailbox.taken(ticket);
        self.post();
    }

    /// A deadline of the mailbox has passed, if it is not an earlier one that was moved.
    pub(crate) fn on_mail_deadline(&mut self) {
        if self.mail.deadline.has_passed(self.now) {
            self.mail.mailbox.expire(self.now);
            self.post();
        }
    }

    /// Tells those who ask what there is to be told, and sets a timer for what is over next, unless an
    /// earlier one is set.
    fn post(&mut self) {
        // Whoever has gone meanwhile loses nothing: the reply stays where it is.
        for (asker, answer) in self.mail.mailbox.answers() {
            match answer {
                Answer::Reply(reply) => self.answer_asker(&asker, &reply.body, reply.header_len),
                Answer::Gone(fate) => self.tell_no_reply(&asker, fate.name()),
                Answer::Pending => self.tell_no_reply(&asker, "pending"),
                Answer::Unknown => self.tell_no_reply(&asker, "unknown_ticket"),
            }
        }
        if let Some(at) = self.mail.mailbox.next()
            && self.mail.deadline.is_sooner(at)
        {
            self.timers.set(at, Timer::Mail);
        }
    }

    fn tell_no_reply(&mut self, asker: &Asker, why: &str) {
        let mut body = Vec::new();
        let header_len = headers::block(&mut body, [(headers::NO_REPLY.as_bytes(), why.as_bytes())]);
        self.answer_asker(asker, &body, header_len);
    }
}

/// `timeout_ms ticket`
fn split(question: &[u8]) -> Option<(Duration, &[u8])> {
    let blank = question.iter().position(|&byte| byte == b' ')?;
    let millis: u32 = std::str::from_utf8(&question[..blank]).ok()?.parse().ok()?;
    Some((Duration::from_millis(millis.into()), &question[blank + 1..]))
}

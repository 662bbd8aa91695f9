//! The path of a message: who gets it, and what happens when nobody does. Only buffers are written
//! here; the end of the turn writes to sockets.

use crate::Daemon;
use crate::auth::user_info;
use crate::client::Client;
use crate::http::Delivered;
use crate::listener::Peer;
use crate::mail;
use crate::outbox::Outbox;
use crate::slots::Key;
use crate::stats::{Reason, Stats};
use rowcall_wire::{Message, encode, headers, subject};
use std::rc::Rc;

/// Someone who has asked the daemon itself, and where he listens for the answer.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) client: Key,
    pub(crate) inbox: Box<[u8]>,
}

impl Daemon {
    /// A client publishes. Says whether anyone takes it.
    pub(crate) fn on_publish(&mut self, from: Key, message: &Message<'_>) -> bool {
        let Some(client) = self.clients.get_mut(from) else { return false };
        let wants = client.wants;
        let (local, free) = (matches!(client.peer, Peer::Unix), client.standing.publishes_freely);
        if local && subject::is_for_daemon(message.subject) {
            self.on_word_of_library(from, message);
            return true;
        }
        Self::count_published(&mut self.stats, client, message);
        // The complaint is only a complaint: the message is processed all the same.
        if wants.pedantic && !is_publishable(message.subject) {
            self.complain(from, "Invalid Publish Subject");
        }
        if (!free || is_reserved(message)) && !self.may_publish(from, message) {
            return false;
        }
        if wants.verbose {
            self.reply(from, encode::OK);
        }
        self.pass_on(from, local, message)
    }

    /// The same for a message by HTTP that was found to be allowed already.
    pub(crate) fn on_permitted(&mut self, from: Key, message: &Message<'_>) -> bool {
        let Some(client) = self.clients.get_mut(from) else { return false };
        Self::count_published(&mut self.stats, client, message);
        self.pass_on(from, false, message)
    }

    fn count_published(stats: &mut Stats, client: &mut Client, message: &Message<'_>) {
        client.traffic.in_msgs += 1;
        client.traffic.in_bytes += message.body.len() as u64;
        stats.in_msgs += 1;
        stats.in_bytes += message.body.len() as u64;
    }

    /// Gives a message to whom it is for. `local` says that it comes over the Unix socket.
    fn pass_on(&mut self, from: Key, local: bool, message: &Message<'_>) -> bool {
        if let Some(receipt) = self.answered(message.subject) {
            self.on_answer(from, &receipt, message);
            return true;
        }
        if let Some(ticket) = mail::ticket_of(message.subject) {
            self.on_mail(ticket, message.body, message.header_len);
            return true;
        }
        let ticket = message.reply.filter(|_| local).and_then(mail::ticket_of);
        if ticket.is_none() && message.subject == user_info::SUBJECT && message.reply.is_some() {
            self.route(Some(from), message);
            self.tell_user_info(from, message);
            return true;
        }
        if let Some(ticket) = ticket {
            self.open_letter(ticket);
        }
        let heard = self.publish(Some(from), message);
        if let Some(ticket) = ticket
            && !heard
        {
            self.on_nobody(ticket);
        }
        heard
    }

    /// Does what only the library says, to the daemon alone.
    fn on_word_of_library(&mut self, from: Key, message: &Message<'_>) {
        match message.subject {
            subject::POKE => self.outbox.iter().for_each(Outbox::poke),
            subject::RESULT => self.on_result(from, message),
            subject::TAKEN => self.on_taken(message.payload()),
            _ => {}
        }
    }

    /// Owes the message to everyone who subscribes to its subject, counts it if nobody does, and says
    /// whether anyone does. It comes from a client, or from the outbox.
    pub(crate) fn publish(&mut self, from: Option<Key>, message: &Message<'_>) -> bool {
        let heard = match from {
            Some(from) if headers::is_trace_only(message.headers()) => self.withhold(from, message),
            _ => self.route(from, message),
        };
        if !heard {
            self.stats.unheard += 1;
            if let (Some(from), Some(inbox)) = (from, message.reply) {
                self.tell_no_responders(from, inbox);
            }
        }
        heard
    }

    /// Delivers a message to nobody: it is sent to be traced only, which nobody does here. Says whether
    /// anyone would have taken it, as if it were delivered.
    fn withhold(&mut self, from: Key, message: &Message<'_>) -> bool {
        self.stats.trace_only += 1;
        let matches = self.subjects.matches(message.subject);
        let mut all = matches.plain.iter().chain(matches.groups.iter().flatten());
        all.any(|&to| self.would_take(from, to, message.subject))
    }

    /// Whether a subscriber would be given what this client publishes to the subject.
    pub(crate) fn would_take(&self, from: Key, to: Key, subject: &[u8]) -> bool {
        let Some(subscription) = self.subscriptions.get(to) else { return false };
        let Some(client) = self.clients.get(subscription.client) else { return false };
        client.is_open()
            && (subscription.client != from || client.wants.echo)
            && client.standing.rights().is_some_and(|rights| rights.may_receive(subject))
    }

    /// The same without counting.
    fn route(&mut self, from: Option<Key>, message: &Message<'_>) -> bool {
        let matches = self.subjects.matches(message.subject);
        self.round.begin_message();
        let mut heard = false;
        for &subscription in &matches.plain {
            heard |= self.deliver(from, subscription, message);
        }
        for members in &matches.groups {
            heard |= self.deliver_to_one(from, members, message);
        }
        self.end_spent();
        heard
    }

    /// Ends the subscriptions that have had all they asked for.
    pub(crate) fn end_spent(&mut self) {
        while let Some(spent) = self.spent.pop() {
            self.unsubscribe(spent);
        }
    }

    /// Owes the message to one member of a queue group: any of them, or, if that one cannot take
    /// it, the next that can. One that lags comes last.
    fn deliver_to_one(&mut self, from: Option<Key>, members: &[Key], message: &Message<'_>) -> bool {
        let first = self.random.usize(..members.len());
        let (later, sooner) = members.split_at(first);
        let (lagging, others): (Vec<Key>, Vec<Key>) = match self.lagging {
            0 => return sooner.iter().chain(later).any(|&member| self.deliver(from, member, message)),
            _ => sooner.iter().chain(later).partition(|&&member| self.is_lagging(member)),
        };
        others.into_iter().chain(lagging).any(|member| self.deliver(from, member, message))
    }

    /// Owes the message to one subscriber, if he may have it. Says whether that was possible.
    #[inline]
    fn deliver(&mut self, from: Option<Key>, to: Key, message: &Message<'_>) -> bool {
        self.owe(from, to, message, true)
    }

    /// The same; the caller knows whether the subscriber's right to it is still to be looked at.
    #[inline]
    pub(crate) fn owe(&mut self, from: Option<Key>, to: Key, message: &Message<'_>, look: bool) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(to) else { return false };
        let Some(client) = self.clients.get_mut(subscription.client) else { return false };
        let spent = subscription.max > 0 && subscription.delivered >= subscription.max;
        if spent || !client.is_open() || (Some(subscription.client) == from && !client.wants.echo) {
            return false;
        }
        if look
            && client.standing.is_looked_at
            && !client.awaits_reply()
            && !client.standing.takes(message, self.now)
        {
            return false;
        }
        let before = client.owed.len();
        if client.visit.is_none() {
            self.round.message(&mut client.owed, &subscription.sid, message, client.wants.headers);
        } else {
            match self.http.deliver(client, &mut self.round, message, from.is_none(), self.now) {
                None => return false,
                Some(Delivered::Before) => return true,
                Some(Delivered::Answer | Delivered::Event) => {}
            }
        }
        Self::mark_dirty(&mut self.dirty, subscription.client, client);
        client.traffic.out_msgs += 1;
        client.traffic.out_bytes += message.body.len() as u64;
        self.stats.out_msgs += 1;
        self.stats.out_bytes += message.body.len() as u64;
        subscription.delivered += 1;
        if subscription.delivered == subscription.max {
            self.spent.push(to);
        }
        let most = self.config.max_pending.0;
        client.note_lag(self.config.pace().share(), &mut self.lagging);
        if client.is_behind(before, most) {
            let slow = subscription.client;
            self.leave(slow, Reason::SlowPending);
        }
        true
    }

    /// Nobody took a request. If its sender wants to know, it is told so on its own subscription for
    /// the answer.
    fn tell_no_responders(&mut self, from: Key, inbox: &[u8]) {
        let wanted = self.clients.get(from).is_some_and(|client| client.wants.no_responders);
        if !wanted || mail::ticket_of(inbox).is_some() {
            return;
        }
        let body = headers::NO_RESPONDERS;
        let answer = Message { subject: inbox, reply: None, body, header_len: body.len() };
        if self.tell_asker(from, &answer) {
            self.stats.no_responders += 1;
        }
    }

    /// Tells a client on its own subscription for the answer, if it has one, that there is none. Nobody else
    /// hears it.
    pub(crate) fn tell_asker(&mut self, from: Key, answer: &Message<'_>) -> bool {
        let found = self.inbox_of(from, answer.subject);
        let Some(subscription) = found.and_then(|found| self.subscriptions.get(found)) else { return false };
        let sid = subscription.sid.clone();
        self.answer_on(from, &sid, answer);
        true
    }

    /// Answers someone on his own subscription for the answer, if he has one. Nobody else hears it: or anyone
    /// could have us publish where he may not himself.
    pub(crate) fn answer_asker(&mut self, asker: &Asker, body: &[u8], header_len: usize) {
        if let Some(found) = self.inbox_of(asker.client, &asker.inbox) {
            self.round.begin_message();
            self.deliver(None, found, &Message { subject: &asker.inbox, reply: None, body, header_len });
            self.end_spent();
        }
    }

    /// The subscription on which a client listens for an answer.
    fn inbox_of(&mut self, from: Key, subject: &[u8]) -> Option<Key> {
        let awaiting = self.subjects.matches(subject);
        let own = |&&key: &&Key| {
            self.subscriptions.get(key).is_some_and(|subscription| subscription.client == from)
        };
        Rc::as_ref(&awaiting).plain.iter().find(own).copied()
    }

    /// Owes a client what the daemon itself answers on this subscription of its.
    pub(crate) fn answer_on(&mut self, key: Key, sid: &[u8], answer: &Message<'_>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let before = client.owed.len();
        self.round.begin_message();
        self.round.message(&mut client.owed, sid, answer, true);
        Self::mark_dirty(&mut self.dirty, key, client);
        if client.is_behind(before, self.config.max_pending.0) {
            self.leave(key, Reason::SlowPending);
        }
    }
}

/// Whether a message goes to where only workers of durable consumers speak, or nobody does, or asks to be
/// answered there: a worker who answered it would settle an event, or make one.
pub(crate) fn is_reserved(message: &Message<'_>) -> bool {
    subject::is_reserved(message.subject) || message.reply.is_some_and(subject::is_reserved)
}

/// What the reference's pedantic check asks of a subject that is published to.
fn is_publishable(subject: &[u8]) -> bool {
    subject::valid_filter(subject) && subject::is_literal(subject)
}

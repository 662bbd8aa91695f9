//! Durable consumers, the loop's side: their events go to their workers one by one, and what the
//! workers answer is noted. What may go when stands in outbox/window.rs, the words of deliveries and
//! answers in outbox/receipt.rs; outbox/ledger.rs writes it all down.

use super::desk::{Fate, Loaded, News, Note, Want};
use super::event::Event;
use super::receipt::{self, Answer, Receipt};
use super::window::{Due, Settings, Verdict, Window};
use super::{HOLD, Outbox};
use crate::publish::Asker;
use crate::slots::Key;
use crate::{Daemon, Timer};
use rowcall_wire::Message;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

impl Outbox {
    /// An event was read that these consumers wait for.
    pub(super) fn offer(&mut self, event: &Rc<Event>) {
        for &(consumer, position) in &event.consumers {
            if let Some(window) = self.window(consumer) {
                window.offer(position, event);
            }
        }
    }

    /// A consumer's window, for someone who changes something in it.
    fn window(&mut self, consumer: u32) -> Option<&mut Window> {
        let index = self.index(consumer)?;
        self.touched.insert(consumer);
        self.consumers.get_mut(index)
    }

    fn index(&self, consumer: u32) -> Option<usize> {
        self.consumers.binary_search_by_key(&consumer, |window| window.settings.id).ok()
    }

    fn window_of(&mut self, name: &str) -> Option<&mut Window> {
        let found = self.consumers.iter().find(|window| window.settings.name == name)?;
        self.window(found.settings.id)
    }

    /// The consumers there are by now; what is in memory of those that stay, stays.
    fn set_consumers(&mut self, all: Vec<Settings>) {
        self.consumers.retain(|window| all.iter().any(|settings| settings.id == window.settings.id));
        for settings in all {
            match self.window(settings.id) {
                Some(window) => window.settings = settings,
                None => {
                    let tally = self.tallies.remove(&settings.id).unwrap_or_default();
                    self.touched.insert(settings.id);
                    self.consumers.push(Window::new(settings, tally));
                }
            }
        }
        self.consumers.sort_by_key(|window| window.settings.id);
    }

    /// The reader's connection has ended: the next one tells everything anew.
    fn begin_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.tallies.extend(self.consumers.drain(..).map(|window| (window.settings.id, window.tally)));
    }

    fn on_loaded(&mut self, consumer: u32, events: Vec<Loaded>, all: bool, now: Instant) {
        let Some(window) = self.window(consumer) else { return };
        let mut spent = Vec::new();
        for Loaded { position, event, deliveries, pause } in events {
            if window.is_spent(deliveries) {
                spent.push((position, event.id, deliveries));
            } else {
                window.load(position, event, deliveries, pause.map(|pause| now + pause));
            }
        }
        window.loaded(all);
        let why = "the daemon's end came before an answer";
        for (position, id, deliveries) in spent {
            let fate = Fate::Parked { deliveries, reason: Fate::MAX_DELIVERIES, why };
            self.note((consumer, position, id), fate, None);
        }
    }

    fn note(&self, (consumer, position, id): (u32, u64, u64), fate: Fate, confirm: Option<Asker>) {
        self.desk.note(self.epoch, Note { consumer, position, id, fate, confirm });
    }

    /// A delivery has failed.
    fn fail(&mut self, consumer: u32, position: u64, failure: &Failure, now: Instant) {
        let Some(window) = self.window(consumer) else { return };
        let Some((event, deliveries)) = window.get(position) else { return };
        let (id, why) = (event.id, failure.why);
        let fate = match window.fail(position, failure.delay, now) {
            Some(Verdict::Again(pause)) => Fate::Failed { deliveries, why, pause },
            Some(Verdict::Park) => Fate::Parked { deliveries, reason: Fate::MAX_DELIVERIES, why },
            None => return,
        };
        self.note((consumer, position, id), fate, failure.confirm.clone());
    }

    /// Does what is due by now.
    fn expire(&mut self, now: Instant) {
        let due = |window: &&Window| window.next_due().is_some_and(|due| due <= now);
        let ids: Vec<u32> = self.consumers.iter().filter(due).map(|window| window.settings.id).collect();
        for consumer in ids {
            while let Some(due) = self.window(consumer).and_then(|window| window.expire(now)) {
                match due {
                    Due::Ready => {}
                    Due::NoAnswer(position) => {
                        self.fail(consumer, position, &Failure::of("no answer in time"), now);
                    }
                    Due::Note(position, deliveries) => self.note_delivered(consumer, position, deliveries),
                }
            }
        }
    }

    fn note_delivered(&mut self, consumer: u32, position: u64, deliveries: u32) {
        let id = self.window(consumer).and_then(|window| window.get(position).map(|(event, _)| event.id));
        if let Some(id) = id {
            self.note((consumer, position, id), Fate::Delivered(deliveries), None);
        }
    }

    /// A worker's connection has ended: what it had is with nobody.
    fn take_back(&mut self, worker: Key, now: Instant) {
        let had = |window: &Window| {
            let id = window.settings.id;
            window.with(worker).into_iter().map(move |position| (id, position))
        };
        let all: Vec<(u32, u64)> = self.consumers.iter().flat_map(had).collect();
        for (consumer, position) in all {
            self.fail(consumer, position, &Failure::of("its worker's connection ended"), now);
        }
    }

    /// The worker has answered.
    fn settle(&mut self, receipt: &Receipt<'_>, answer: &Answer, confirm: Option<Asker>, now: Instant) {
        let Some(window) = self.window_of(receipt.consumer) else { return };
        let (consumer, position) = (window.settings.id, receipt.position);
        let Some((event, deliveries)) = window.get(position) else { return };
        if (event.id, event.stamp) != (receipt.id, receipt.stamp) {
            return;
        }
        let it = (consumer, position, receipt.id);
        match answer {
            Answer::Ack => {
                window.settle(position);
                self.note(it, Fate::Settled, confirm);
            }
            Answer::Term => {
                window.settle(position);
                let why = "its worker gave it up (+TERM)";
                self.note(it, Fate::Parked { deliveries, reason: Fate::TERMINATED, why }, confirm);
            }
            // Whoever answers so late that another worker has it now does not speak for that one.
            Answer::Nak { .. } | Answer::Progress if receipt.deliveries != deliveries => {}
            Answer::Nak { .. } if !window.is_delivered(position) => {}
            Answer::Nak { delay, counted: true } => {
                let failure = Failure { why: "its worker could not do it (-NAK)", delay: *delay, confirm };
                self.fail(consumer, position, &failure, now);
            }
            Answer::Nak { delay, .. } => {
                let left = window.release(position, *delay, now);
                left.into_iter().for_each(|left| self.note(it, Fate::Released(left), confirm.clone()));
            }
            Answer::Progress => window.in_progress(position, now),
            Answer::Unknown => {}
        }
    }

    /// Asks for more of the tables where little is left in memory, and tells what is counted.
    fn keep_up(&mut self, touched: &BTreeSet<u32>) {
        let mut tallies = Vec::with_capacity(touched.len());
        for &consumer in touched {
            let Some(window) = self.index(consumer).and_then(|index| self.consumers.get_mut(index)) else {
                continue;
            };
            if let Some(behind) = window.wants() {
                self.desk.want(self.epoch, Want { consumer, behind, rows: window.room() });
            }
            tallies.push((consumer, window.tally()));
        }
        self.desk.tell_tallies(tallies);
    }

    /// When to look again, unless that is set already: when something is due, or, if someone is waited
    /// for who cannot take more, then.
    fn next_deadline(&mut self, hold: Option<Instant>) -> Option<Instant> {
        let next = self.consumers.iter().filter_map(Window::next_due).chain(hold).min()?;
        self.deadline.is_sooner(next).then_some(next)
    }

    /// No more answers will come: what is open is written down.
    pub(crate) fn finish(&mut self) {
        let open = |window: &Window| {
            let id = window.settings.id;
            window.unnoted().into_iter().map(move |(position, deliveries)| (id, position, deliveries))
        };
        let open: Vec<_> = self.consumers.iter().flat_map(open).collect();
        for (consumer, position, deliveries) in open {
            self.note_delivered(consumer, position, deliveries);
        }
        self.desk.finish();
    }
}

/// What a consumer may be given next.
struct Next {
    position: u64,
    event: Rc<Event>,
    /// How often it was delivered.
    deliveries: u32,
    /// How many more its consumer has in memory.
    more: usize,
    ack_wait: Duration,
}

/// How a delivery has failed.
struct Failure {
    why: &'static str,
    /// When to try again, if the worker has said so.
    delay: Option<Duration>,
    confirm: Option<Asker>,
}

impl Failure {
    fn of(why: &'static str) -> Failure {
        Failure { why, delay: None, confirm: None }
    }
}

impl Daemon {
    /// News of consumers.
    pub(super) fn on_news(&mut self, news: News) {
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        match news {
            News::Epoch(epoch) => outbox.begin_epoch(epoch),
            News::Consumers(all) => outbox.set_consumers(all),
            News::Loaded { consumer, events, all } => outbox.on_loaded(consumer, events, all, now),
            News::Gone { consumer, up_to } => {
                outbox.window(consumer).into_iter().for_each(|it| it.forget(up_to))
            }
            News::More(consumer) => outbox.window(consumer).into_iter().for_each(Window::expect_more),
            News::Written(all) => {
                all.iter().for_each(|asker| self.answer_asker(asker, b"", 0));
            }
            News::Batch(_) | News::Recalled(_) | News::Told { .. } => {}
        }
    }

    /// Someone answers a delivery.
    pub(crate) fn on_answer(&mut self, worker: Key, receipt: &Receipt<'_>, message: &Message<'_>) {
        let answer = Answer::parse(message.payload());
        let confirm = message.reply.map(|inbox| Asker { client: worker, inbox: inbox.into() });
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        outbox.settle(receipt, &answer, confirm, now);
    }

    /// Which delivery a message answers, if it is an answer to one.
    pub(crate) fn answered<'a>(&self, subject: &'a [u8]) -> Option<Receipt<'a>> {
        self.outbox.as_ref().and_then(|_| Receipt::parse(subject))
    }

    /// Someone subscribes to this: perhaps a worker that is waited for.
    pub(crate) fn on_new_worker(&mut self, filter: &[u8]) {
        let Some(outbox) = &mut self.outbox else { return };
        if let Some(name) = receipt::consumer_of(filter) {
            outbox.window_of(name);
        }
    }

    /// Whether whoever subscribes to this is a worker.
    pub(crate) fn is_for_workers(&self, filter: &[u8]) -> bool {
        self.outbox.is_some() && receipt::consumer_of(filter).is_some()
    }

    /// A connection has ended. When the daemon leaves it is not the worker's fault.
    pub(crate) fn on_worker_gone(&mut self, worker: Key) {
        let now = self.now;
        if self.leave_by.is_none()
            && let Some(outbox) = &mut self.outbox
        {
            outbox.take_back(worker, now);
        }
    }

    /// Something of a consumer is due; or was once, and the deadline is another one by now.
    pub(crate) fn on_consumers_deadline(&mut self) {
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        if outbox.deadline.has_passed(now) {
            outbox.expire(now);
            self.set_consumers_deadline(None);
        }
    }

    fn set_consumers_deadline(&mut self, hold: Option<Instant>) {
        if let Some(next) = self.outbox.as_mut().and_then(|outbox| outbox.next_deadline(hold)) {
            self.timers.set(next, Timer::Consumers);
        }
    }

    /// Ends the turn for consumers: delivers whatever may be delivered of those for which something has
    /// changed, and sees to what comes next.
    pub(crate) fn serve_consumers(&mut self) {
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        if outbox.touched.is_empty() || self.leave_by.is_some() || outbox.desk.is_full() {
            return;
        }
        let touched = std::mem::take(&mut outbox.touched);
        let held: BTreeSet<u32> = touched.iter().copied().filter(|&consumer| !self.serve(consumer)).collect();
        let Some(outbox) = &mut self.outbox else { return };
        outbox.keep_up(&touched);
        let hold = (!held.is_empty()).then(|| now + HOLD);
        outbox.touched = held;
        self.set_consumers_deadline(hold);
    }

    /// Delivers of one consumer; says no if its workers are there and cannot take more now.
    fn serve(&mut self, consumer: u32) -> bool {
        let Some(index) = self.outbox.as_ref().and_then(|outbox| outbox.index(consumer)) else { return true };
        let Some(name) = self.name_if_ready(index) else { return true };
        let mut workers = self.workers(&name);
        let mut goes = true;
        while let Some(next) = self.next_of(index) {
            let load =
                |worker: Key| self.outbox.as_ref().map(|outbox| outbox.consumers[index].load_of(worker));
            let able = workers.iter().filter(|&&(_, worker)| self.is_able(worker));
            let Some(&(subscription, worker)) = able.min_by_key(|&&(_, worker)| load(worker)) else {
                goes = workers.is_empty();
                break;
            };
            self.round.begin_message();
            goes = self.deliver_event(subscription, &name, &next);
            if !self.spent.is_empty() {
                self.end_spent();
                workers = self.workers(&name);
            }
            if !goes {
                break;
            }
            let now = self.now;
            if let Some(window) = self.outbox.as_mut().and_then(|outbox| outbox.consumers.get_mut(index)) {
                window.delivered(next.position, worker, now);
            }
        }
        goes
    }

    /// A consumer's name, if it has something that may be delivered.
    fn name_if_ready(&self, index: usize) -> Option<String> {
        let window = self.outbox.as_ref()?.consumers.get(index)?;
        window.next().map(|_| window.settings.name.clone())
    }

    fn next_of(&self, index: usize) -> Option<Next> {
        let window = self.outbox.as_ref()?.consumers.get(index)?;
        let position = window.next()?;
        let (event, deliveries) = window.get(position)?;
        let (event, more, ack_wait) = (Rc::clone(event), window.more(), window.settings.ack_wait);
        Some(Next { position, event, deliveries, more, ack_wait })
    }

    fn deliver_event(&mut self, to: Key, name: &str, next: &Next) -> bool {
        let (event, nth) = (&next.event, next.deliveries + 1);
        let reply = receipt::reply_subject(name, nth, event, next.position, next.more);
        let own = receipt::delivery(event, nth, next.ack_wait);
        let (body, header_len) =
            own.as_ref().map_or((&*event.body, event.header_len), |(body, length)| (&**body, *length));
        let message = Message { subject: &event.subject, reply: Some(reply.as_bytes()), body, header_len };
        // Whoever may subscribe as a worker may have the events, whatever their subjects.
        self.owe(None, to, &message, false)
    }

    /// Whether a worker can take something: it has not too much to read already.
    fn is_able(&self, worker: Key) -> bool {
        let half = self.config.max_pending.0 / 2;
        self.clients.get(worker).is_some_and(|client| client.is_open() && client.owed.len() <= half)
    }

    /// The workers of a consumer, as subscription and client: whoever subscribes to exactly its delivery
    /// subject, whatever their queue groups. Someone who listens to everything is no worker.
    pub(crate) fn workers(&mut self, name: &str) -> Vec<(Key, Key)> {
        let subject = receipt::delivery_subject(name);
        let matches = self.subjects.matches(subject.as_bytes());
        let worker = |&key: &Key| {
            let subscription = self.subscriptions.get(key)?;
            (*subscription.filter == *subject.as_bytes()).then_some((key, subscription.client))
        };
        matches.plain.iter().chain(matches.groups.iter().flatten()).filter_map(worker).collect()
    }
}

//! Durable consumers, the loop's side: their events go to their workers one by one, and what the
//! workers answer is noted. What may go when stands in outbox/window.rs, the words of deliveries and
//! answers in outbox/receipt.rs; outbox/ledger.rs writes it all down.

use super::desk::{Fate, Loaded, News, Note, Want};
use super::event::Event;
use super::receipt::{self, Answer, Receipt};
use super::window::{Due, Settings, Verdict, Window};
use super::{HOLD, Outbox};
use crate::slots::Key;
use crate::{Daemon, Timer};
use rowcall_wire::Message;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What `parked` says of an event that no delivery has settled.
const MAX_DELIVERIES: &str = "max_deliveries";
/// What it says of one that a worker has given up.
const TERMINATED: &str = "terminated";

impl Outbox {
    /// An event was read that these consumers wait for.
    pub(super) fn offer(&mut self, event: &Rc<Event>) {
        for &(consumer, position) in &event.consumers {
            if let Some(window) = self.window(consumer) {
                window.offer(position, event);
            }
        }
    }

    fn window(&mut self, consumer: u32) -> Option<&mut Window> {
        self.consumers.iter_mut().find(|window| window.settings.id == consumer)
    }

    fn window_of(&mut self, name: &str) -> Option<&mut Window> {
        self.consumers.iter_mut().find(|window| window.settings.name == name)
    }

    /// The consumers there are by now; what is in memory of those that stay, stays.
    fn set_consumers(&mut self, all: Vec<Settings>) {
        self.consumers.retain(|window| all.iter().any(|settings| settings.id == window.settings.id));
        for settings in all {
            match self.window(settings.id) {
                Some(window) => window.settings = settings,
                None => self.consumers.push(Window::new(settings)),
            }
        }
    }

    fn on_loaded(&mut self, consumer: u32, events: Vec<Loaded>, all: bool, now: Instant) {
        let Some(window) = self.window(consumer) else { return };
        for Loaded { position, event, deliveries, pause } in events {
            window.load(position, event, deliveries, pause.map(|pause| now + pause));
        }
        window.loaded(all);
    }

    fn note(&self, (consumer, position, id): (u32, u64, u64), fate: Fate, confirm: Option<Vec<u8>>) {
        self.desk.note(self.round, Note { consumer, position, id, fate, confirm });
    }

    /// A delivery has failed.
    fn fail(&mut self, consumer: u32, position: u64, failure: &Failure, now: Instant) {
        let Some(window) = self.window(consumer) else { return };
        let Some((event, deliveries)) = window.get(position) else { return };
        let (id, why) = (event.id, failure.why);
        let fate = match window.fail(position, failure.delay, now) {
            Some(Verdict::Again(pause)) => Fate::Failed { deliveries, why, pause },
            Some(Verdict::Park) => Fate::Parked { deliveries, reason: MAX_DELIVERIES, why },
            None => return,
        };
        self.note((consumer, position, id), fate, failure.confirm.clone());
    }

    /// Does what is due by now.
    fn expire(&mut self, now: Instant) {
        let ids: Vec<u32> = self.consumers.iter().map(|window| window.settings.id).collect();
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
    fn on_worker_gone(&mut self, worker: Key, now: Instant) {
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
    fn on_answer(&mut self, receipt: &Receipt<'_>, answer: &Answer, confirm: Option<Vec<u8>>, now: Instant) {
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
                self.note(it, Fate::Parked { deliveries, reason: TERMINATED, why }, confirm);
            }
            // Whoever answers so late that another worker has it now does not speak for that one.
            Answer::Nak(_) | Answer::Progress if receipt.deliveries != deliveries => {}
            Answer::Nak(delay) if window.is_delivered(position) => {
                let failure = Failure { why: "its worker could not do it (-NAK)", delay: *delay, confirm };
                self.fail(consumer, position, &failure, now);
            }
            Answer::Progress => window.in_progress(position, now),
            Answer::Nak(_) | Answer::Unknown => {}
        }
    }

    /// Asks for more of the tables where little is left in memory, and tells what is counted.
    fn keep_up(&mut self) {
        let (desk, round) = (&self.desk, self.round);
        for window in &mut self.consumers {
            let consumer = window.settings.id;
            if let Some(behind) = window.wants() {
                desk.want(round, Want { consumer, behind, rows: window.room() });
            }
            desk.tell_tally(consumer, window.tally());
        }
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
    /// The consumer's name.
    name: String,
    /// How many more it has in memory.
    more: usize,
}

/// How a delivery has failed.
struct Failure {
    why: &'static str,
    /// When to try again, if the worker has said so.
    delay: Option<Duration>,
    confirm: Option<Vec<u8>>,
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
            News::Round(round) => {
                outbox.round = round;
                outbox.consumers.clear();
            }
            News::Consumers(all) => outbox.set_consumers(all),
            News::Loaded { consumer, events, all } => outbox.on_loaded(consumer, events, all, now),
            News::Gone { consumer, up_to } => {
                outbox.window(consumer).into_iter().for_each(|it| it.forget(up_to))
            }
            News::More(consumer) => outbox.window(consumer).into_iter().for_each(Window::expect_more),
            News::Written(subjects) => {
                for subject in subjects {
                    self.route(None, &Message::plain(&subject, b""));
                }
            }
            News::Batch(_) => {}
        }
    }

    /// Someone answers a delivery.
    pub(crate) fn on_answer(&mut self, receipt: &Receipt<'_>, message: &Message<'_>) {
        let answer = Answer::parse(message.payload());
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        outbox.on_answer(receipt, &answer, message.reply.map(Into::into), now);
        self.serve_consumers();
    }

    /// Which delivery a message answers, if it is an answer to one.
    pub(crate) fn answered<'a>(&self, subject: &'a [u8]) -> Option<Receipt<'a>> {
        self.outbox.as_ref().and_then(|_| Receipt::parse(subject))
    }

    /// Someone subscribes to this: perhaps a worker that is waited for.
    pub(crate) fn on_new_worker(&mut self, filter: &[u8]) {
        if self.outbox.is_some() && receipt::consumer_of(filter).is_some() {
            self.serve_consumers();
        }
    }

    /// A connection has ended.
    pub(crate) fn on_worker_gone(&mut self, worker: Key) {
        let now = self.now;
        let Some(outbox) = self.outbox.as_mut().filter(|outbox| !outbox.consumers.is_empty()) else { return };
        outbox.on_worker_gone(worker, now);
        self.serve_consumers();
    }

    /// Something of a consumer is due.
    pub(crate) fn on_consumers_deadline(&mut self) {
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        outbox.deadline = None;
        outbox.expire(now);
        self.serve_consumers();
    }

    /// Delivers whatever may be delivered, and sees to what comes next.
    pub(crate) fn serve_consumers(&mut self) {
        if self.leave_by.is_some() {
            return;
        }
        let count = self.outbox.as_ref().map_or(0, |outbox| outbox.consumers.len());
        let mut waits = false;
        for index in 0..count {
            waits |= !self.serve_consumer(index);
        }
        let now = self.now;
        let Some(outbox) = &mut self.outbox else { return };
        outbox.keep_up();
        let due = outbox.consumers.iter().filter_map(Window::next_due).min();
        let next = due.into_iter().chain(waits.then(|| now + HOLD)).min();
        if let Some(next) = next.filter(|&next| outbox.deadline.is_none_or(|set| next < set)) {
            outbox.deadline = Some(next);
            self.timers.set(next, Timer::Consumers);
        }
    }

    /// Delivers of one consumer; says no if its workers are there and cannot take more now.
    fn serve_consumer(&mut self, index: usize) -> bool {
        // Whether subscribers lag concerns whoever publishes, and that is nobody here.
        let lagging = self.lagging;
        let mut goes = true;
        while let Some(Next { position, event, deliveries, name, more }) = self.next_of(index) {
            let pool = self.workers(&name);
            let load =
                |worker: &Key| self.outbox.as_ref().map(|outbox| outbox.consumers[index].load_of(*worker));
            let Some(&(subscription, worker)) = pool.iter().min_by_key(|(_, worker)| load(worker)) else {
                goes = !self.has_workers(&name);
                break;
            };
            let reply = receipt::reply_subject(&name, deliveries + 1, &event, position, more);
            self.round.begin_message();
            if !self.deliver_event(subscription, &event, deliveries, &reply) {
                break;
            }
            let now = self.now;
            if let Some(window) = self.outbox.as_mut().and_then(|outbox| outbox.consumers.get_mut(index)) {
                window.delivered(position, worker, now);
            }
        }
        self.lagging = lagging;
        goes
    }

    fn next_of(&self, index: usize) -> Option<Next> {
        let window = self.outbox.as_ref()?.consumers.get(index)?;
        let position = window.next()?;
        let (event, deliveries) = window.get(position)?;
        let (event, name, more) = (Rc::clone(event), window.settings.name.clone(), window.more());
        Some(Next { position, event, deliveries, name, more })
    }

    fn deliver_event(&mut self, to: Key, event: &Event, deliveries: u32, reply: &str) -> bool {
        let again = (deliveries > 0).then(|| receipt::redelivered(event, deliveries + 1));
        let (body, header_len) = match &again {
            Some((body, header_len)) => (body.as_slice(), *header_len),
            None => (event.body.as_slice(), event.header_len),
        };
        let message = Message { subject: &event.subject, reply: Some(reply.as_bytes()), body, header_len };
        self.deliver(None, to, &message)
    }

    /// Whoever subscribes to a consumer's delivery subject, whatever their queue groups, and can take
    /// something: one of them gets each event.
    fn workers(&mut self, name: &str) -> Vec<(Key, Key)> {
        let half = self.config.max_pending.0 / 2;
        let all = self.subscribed(name);
        let client = |key: Key| self.subscriptions.get(key).map(|subscription| subscription.client);
        let able = |worker: &Key| {
            self.clients.get(*worker).is_some_and(|client| client.is_open() && client.owed.len() <= half)
        };
        all.into_iter().filter_map(|key| Some((key, client(key).filter(able)?))).collect()
    }

    fn has_workers(&mut self, name: &str) -> bool {
        !self.subscribed(name).is_empty()
    }

    /// Subscriptions to exactly a consumer's delivery subject: someone who listens to everything is
    /// no worker.
    fn subscribed(&mut self, name: &str) -> Vec<Key> {
        let subject = receipt::delivery_subject(name);
        let matches = self.subjects.matches(subject.as_bytes());
        let exact = |key: &&Key| {
            self.subscriptions
                .get(**key)
                .is_some_and(|subscription| *subscription.filter == *subject.as_bytes())
        };
        matches.plain.iter().chain(matches.groups.iter().flatten()).filter(exact).copied().collect()
    }
}

//! One durable consumer's events that are in memory: which of them may be delivered, which await an
//! answer, and what becomes of those that get none. The rest waits in its table. No fd, no clock and
//! no SQL live here; who delivers stands in outbox/workers.rs, who writes down in outbox/ledger.rs.

use super::ConsumerNumbers;
use super::event::Event;
use crate::slots::Key;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Events in memory beyond those that may be unsettled: enough to go on while the next are loaded,
/// and to pass over those whose key is taken.
const AHEAD: usize = 1000;

/// Bytes of events in memory, of one consumer. One event may be larger.
const BYTES_MAX: usize = 8 << 20;

/// A delivery that is open for so long is written down, so that it counts if the daemon crashes.
/// Most are settled sooner, and cost nothing.
const NOTED_AFTER: Duration = Duration::from_millis(500);

/// What the administrator wants of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) filter: Vec<u8>,
    /// A delivery without an answer for so long has failed.
    pub(crate) ack_wait: Duration,
    /// After so many failed deliveries the event is parked; 0 is never.
    pub(crate) max_deliveries: u32,
    /// Pauses after the first, second, … failed delivery; the last one holds for all further ones.
    pub(crate) backoff: Vec<Duration>,
    /// So many may be delivered and not settled at a time.
    pub(crate) max_unacked: usize,
    pub(crate) paused: bool,
}

/// What a consumer has in memory.
pub(crate) struct Window {
    pub(crate) settings: Settings,
    entries: HashMap<u64, Entry>,
    /// Those that may be delivered now.
    ready: BTreeSet<u64>,
    /// When something is due of those that were delivered.
    due: BTreeSet<(Instant, u64)>,
    /// Those of one key, in their order: only the first is delivered before it is settled.
    keys: HashMap<Box<[u8]>, VecDeque<u64>>,
    /// How many were delivered and are not settled.
    unacked: usize,
    /// Of them, how many each worker has.
    loads: HashMap<Key, usize>,
    bytes: usize,
    /// The latest position that was taken in.
    last: u64,
    /// Whether the table holds nothing beyond it.
    complete: bool,
    /// Whether more of the table is on its way.
    loading: bool,
    /// Deliveries so far, and those of them that were not the first of their event.
    pub(crate) tally: Tally,
}

/// What is counted of a consumer while the daemon runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) unacked: usize,
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
}

struct Entry {
    event: Rc<Event>,
    /// How often it was delivered.
    deliveries: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not delivered, or to be delivered again.
    Waiting,
    /// A worker has it; `next` is when to look at it again.
    Delivered { worker: Key, until: Instant, next: Instant, noted: bool },
    /// To be delivered again then.
    Delayed { until: Instant },
}

/// What has to be done about an event whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its worker has not answered in time.
    NoAnswer(u64),
    /// It is to be written down that it was delivered so often.
    Note(u64, u32),
    /// Nothing: it may be delivered again.
    Ready,
}

/// What becomes of an event after a delivery that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is delivered again after this pause.
    Again(Duration),
    /// This was its last delivery.
    Park,
}

impl Window {
    /// One with nothing in it; what was counted of its consumer before goes on.
    pub(crate) fn new(settings: Settings, tally: Tally) -> Window {
        Window {
            settings,
            entries: HashMap::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            keys: HashMap::new(),
            unacked: 0,
            loads: HashMap::new(),
            bytes: 0,
            last: 0,
            complete: false,
            loading: false,
            tally,
        }
    }

    /// Takes in an event that was just read, if there is room and nothing before it is missing;
    /// otherwise it is loaded later.
    pub(crate) fn offer(&mut self, position: u64, event: &Rc<Event>) {
        self.complete = self.complete && self.has_room();
        if self.complete {
            self.take_in(position, Rc::clone(event), 0, State::Waiting);
        }
    }

    /// Whether an event that was delivered so often may be delivered no more.
    pub(crate) fn is_spent(&self, deliveries: u32) -> bool {
        self.settings.max_deliveries > 0 && deliveries >= self.settings.max_deliveries
    }

    /// Takes in an event from the table; a pause that had begun goes on until then.
    pub(crate) fn load(&mut self, position: u64, event: Event, deliveries: u32, until: Option<Instant>) {
        let state = until.map_or(State::Waiting, |until| State::Delayed { until });
        self.take_in(position, Rc::new(event), deliveries, state);
    }

    /// What was asked for has come; `all` if that was everything.
    pub(crate) fn loaded(&mut self, all: bool) {
        self.loading = false;
        self.complete = all;
    }

    /// Behind which position the table is to be read on, if it is time for that. The answer is
    /// awaited: it says so once.
    pub(crate) fn wants(&mut self) -> Option<u64> {
        // Those whose key is taken do not count: behind them may be others that can go.
        let plenty = self.ready.len() > AHEAD / 2;
        if self.complete || self.loading || plenty || !self.has_room() {
            return None;
        }
        self.loading = true;
        Some(self.last)
    }

    /// How many more fit in.
    pub(crate) fn room(&self) -> usize {
        (self.settings.max_unacked + AHEAD).saturating_sub(self.entries.len())
    }

    fn has_room(&self) -> bool {
        self.room() > 0 && self.bytes < BYTES_MAX
    }

    fn take_in(&mut self, position: u64, event: Rc<Event>, deliveries: u32, state: State) {
        self.last = self.last.max(position);
        self.bytes += event.body.len();
        let first = match &event.key {
            Some(key) => {
                let queue = self.keys.entry(key.clone()).or_default();
                queue.push_back(position);
                queue.len() == 1
            }
            None => true,
        };
        match state {
            State::Delayed { until } => {
                self.unacked += 1;
                self.due.insert((until, position));
            }
            _ if first => drop(self.ready.insert(position)),
            _ => {}
        }
        self.entries.insert(position, Entry { event, deliveries, state });
    }

    /// What may be delivered next.
    pub(crate) fn next(&self) -> Option<u64> {
        let may = !self.settings.paused && self.unacked < self.settings.max_unacked.max(1);
        self.ready.first().copied().filter(|_| may)
    }

    /// The event at a position, and how often it was delivered.
    pub(crate) fn get(&self, position: u64) -> Option<(&Rc<Event>, u32)> {
        self.entries.get(&position).map(|entry| (&entry.event, entry.deliveries))
    }

    /// A worker has been given it.
    pub(crate) fn delivered(&mut self, position: u64, worker: Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        let until = now + self.settings.ack_wait;
        let next = until.min(now + NOTED_AFTER);
        self.tally.delivered += 1;
        self.tally.redelivered += u64::from(entry.deliveries > 0);
        entry.deliveries += 1;
        entry.state = State::Delivered { worker, until, next, noted: false };
        self.ready.remove(&position);
        self.due.insert((next, position));
        self.unacked += 1;
        *self.loads.entry(worker).or_default() += 1;
    }

    /// Its worker is still at it.
    pub(crate) fn in_progress(&mut self, position: u64, now: Instant) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        if let State::Delivered { until, next, noted, .. } = &mut entry.state {
            *until = now + self.settings.ack_wait;
            if *noted {
                self.due.remove(&(*next, position));
                *next = *until;
                self.due.insert((*next, position));
            }
        }
    }

    /// It is done with, whoever said so: the next one of its key may go.
    pub(crate) fn settle(&mut self, position: u64) {
        self.withdraw(position);
        self.ready.remove(&position);
        let Some(entry) = self.entries.remove(&position) else { return };
        self.bytes -= entry.event.body.len();
        let Some(key) = &entry.event.key else { return };
        let Some(queue) = self.keys.get_mut(key) else { return };
        queue.retain(|&other| other != position);
        match queue.front() {
            Some(&next) if self.entries.get(&next).is_some_and(|next| next.state == State::Waiting) => {
                self.ready.insert(next);
            }
            Some(_) => {}
            None => drop(self.keys.remove(key)),
        }
    }

    /// Its worker has not tried it: it may be delivered again, at once or then. Gives the number of deliveries
    /// without this one.
    pub(crate) fn release(&mut self, position: u64, delay: Option<Duration>, now: Instant) -> Option<u32> {
        self.withdraw(position);
        let entry = self.entries.get_mut(&position)?;
        entry.deliveries = entry.deliveries.saturating_sub(1);
        let left = entry.deliveries;
        self.delay(position, now + delay.unwrap_or_default());
        Some(left)
    }

    fn delay(&mut self, position: u64, until: Instant) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        entry.state = State::Delayed { until };
        self.due.insert((until, position));
        self.unacked += 1;
    }

    /// Its delivery has failed; `delay` if its worker has said when to try again.
    pub(crate) fn fail(&mut self, position: u64, delay: Option<Duration>, now: Instant) -> Option<Verdict> {
        self.withdraw(position);
        let is_spent = self.is_spent(self.entries.get(&position)?.deliveries);
        let entry = self.entries.get_mut(&position)?;
        if is_spent {
            self.settle(position);
            return Some(Verdict::Park);
        }
        let nth = (entry.deliveries.max(1) as usize - 1).min(self.settings.backoff.len().saturating_sub(1));
        let pause = delay.or_else(|| self.settings.backoff.get(nth).copied()).unwrap_or_default();
        self.delay(position, now + pause);
        Some(Verdict::Again(pause))
    }

    /// It is not with a worker any more, and not due.
    fn withdraw(&mut self, position: u64) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        let due = match entry.state {
            State::Waiting => return,
            State::Delivered { worker, next, .. } => {
                match self.loads.get_mut(&worker) {
                    Some(load) if *load > 1 => *load -= 1,
                    _ => drop(self.loads.remove(&worker)),
                }
                next
            }
            State::Delayed { until } => until,
        };
        self.due.remove(&(due, position));
        self.unacked -= 1;
        entry.state = State::Waiting;
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// What is due by now, one at a time.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Due> {
        let &(at, position) = self.due.first().filter(|(at, _)| *at <= now)?;
        let entry = self.entries.get_mut(&position)?;
        match &mut entry.state {
            State::Delivered { until, next, noted, .. } if *until > now => {
                self.due.remove(&(at, position));
                *next = *until;
                self.due.insert((*next, position));
                *noted = true;
                Some(Due::Note(position, entry.deliveries))
            }
            State::Delivered { .. } => Some(Due::NoAnswer(position)),
            _ => {
                self.withdraw(position);
                self.ready.insert(position);
                Some(Due::Ready)
            }
        }
    }

    /// How many a worker has.
    pub(crate) fn load_of(&self, worker: Key) -> usize {
        self.loads.get(&worker).copied().unwrap_or_default()
    }

    /// What a worker has.
    pub(crate) fn with(&self, worker: Key) -> Vec<u64> {
        if self.load_of(worker) == 0 {
            return Vec::new();
        }
        let is_with =
            |entry: &Entry| matches!(entry.state, State::Delivered { worker: who, .. } if who == worker);
        self.entries.iter().filter(|(_, entry)| is_with(entry)).map(|(&position, _)| position).collect()
    }

    /// Whether some worker has it.
    pub(crate) fn is_delivered(&self, position: u64) -> bool {
        self.entries.get(&position).is_some_and(|entry| matches!(entry.state, State::Delivered { .. }))
    }

    /// Whether this worker has it.
    pub(crate) fn is_with(&self, position: u64, worker: Key) -> bool {
        let entry = self.entries.get(&position);
        entry
            .is_some_and(|entry| matches!(entry.state, State::Delivered { worker: who, .. } if who == worker))
    }

    /// Deliveries that are open and were not written down.
    pub(crate) fn unnoted(&self) -> Vec<(u64, u32)> {
        let unnoted = |entry: &&Entry| matches!(entry.state, State::Delivered { noted: false, .. });
        let open = self.entries.iter().filter(|(_, entry)| unnoted(entry));
        open.map(|(&position, entry)| (position, entry.deliveries)).collect()
    }

    /// Everything up to this position is gone from the table.
    pub(crate) fn forget(&mut self, up_to: u64) {
        let gone: Vec<u64> = self.entries.keys().copied().filter(|&position| position <= up_to).collect();
        gone.into_iter().for_each(|position| self.settle(position));
    }

    /// The table holds more than was told.
    pub(crate) fn expect_more(&mut self) {
        self.complete = false;
    }

    /// How many more are in memory, beside the next one.
    pub(crate) fn more(&self) -> usize {
        self.entries.len().saturating_sub(1)
    }

    /// How it goes, for whoever asks over HTTP.
    pub(crate) fn numbers(&self) -> ConsumerNumbers<'_> {
        let Tally { unacked, delivered, redelivered } = self.tally();
        let in_memory = self.entries.len();
        let Settings { name, paused, .. } = &self.settings;
        ConsumerNumbers { name, paused: *paused, in_memory, unacked, delivered, redelivered }
    }

    /// What is counted.
    pub(crate) fn tally(&self) -> Tally {
        Tally { unacked: self.unacked, ..self.tally }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    const SECOND: Duration = Duration::from_secs(1);
    const NOTHING: [u64; 0] = [];

    fn window(max_unacked: usize) -> Window {
        let mut window = Window::new(
            Settings {
                id: 1,
                name: "w".into(),
                filter: b">".to_vec(),
                ack_wait: 30 * SECOND,
                max_deliveries: 3,
                backoff: vec![SECOND, 5 * SECOND],
                max_unacked,
                paused: false,
            },
            Tally::default(),
        );
        assert_eq!(window.wants(), Some(0));
        window.loaded(true);
        window
    }

    fn event(key: Option<&str>) -> Rc<Event> {
        let key = key.map(|key| key.as_bytes().into());
        Rc::new(Event {
            id: 7,
            subject: b"a".to_vec(),
            body: vec![0; 10],
            header_len: 0,
            key,
            stamp: 0,
            consumers: Vec::new(),
        })
    }

    fn worker() -> Key {
        Slots::default().insert(())
    }

    /// Delivers whatever may be, and says which.
    fn deliver(window: &mut Window, now: Instant) -> Vec<u64> {
        let mut delivered = Vec::new();
        while let Some(position) = window.next() {
            window.delivered(position, worker(), now);
            delivered.push(position);
        }
        delivered
    }

    #[test]
    fn no_more_are_unsettled_than_may_be() {
        let (mut window, now) = (window(2), Instant::now());
        (1..=3).for_each(|position| window.offer(position, &event(None)));
        assert_eq!(deliver(&mut window, now), [1, 2]);
        window.settle(2);
        assert_eq!(deliver(&mut window, now), [3]);
        window.settings.paused = true;
        window.settle(1);
        window.offer(4, &event(None));
        assert_eq!(deliver(&mut window, now), NOTHING);
        assert_eq!(window.tally(), Tally { unacked: 1, delivered: 3, redelivered: 0 });
    }

    #[test]
    fn the_next_of_a_key_waits_until_the_one_before_is_settled() {
        let (mut window, now) = (window(9), Instant::now());
        for (position, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            window.offer(position, &event(Some(key)));
        }
        assert_eq!(deliver(&mut window, now), [1, 3]);
        assert_eq!(window.fail(1, None, now), Some(Verdict::Again(SECOND)));
        window.settle(3);
        assert_eq!(deliver(&mut window, now), NOTHING);
        assert_eq!(window.expire(now + SECOND), Some(Due::Ready));
        assert_eq!(deliver(&mut window, now + SECOND), [1]);
        window.settle(1);
        assert_eq!(deliver(&mut window, now + SECOND), [2]);
        window.settle(2);
        assert_eq!(deliver(&mut window, now + SECOND), [4]);
    }

    #[test]
    fn who_does_not_answer_is_tried_again_and_then_parked() {
        let (mut window, mut now) = (window(1), Instant::now());
        window.offer(1, &event(None));
        for pause in [Some(SECOND), Some(5 * SECOND), None] {
            assert_eq!(deliver(&mut window, now), [1]);
            now = window.next_due().unwrap();
            let Some(Due::Note(1, deliveries)) = window.expire(now) else { panic!() };
            now = window.next_due().unwrap();
            assert_eq!(window.expire(now), Some(Due::NoAnswer(1)));
            let verdict = pause.map_or(Verdict::Park, Verdict::Again);
            assert_eq!(window.fail(1, None, now), Some(verdict), "after {deliveries}");
            now += pause.unwrap_or_default();
            assert_eq!(window.expire(now), pause.map(|_| Due::Ready));
        }
        assert_eq!(window.tally(), Tally { unacked: 0, delivered: 3, redelivered: 2 });
        assert!(window.get(1).is_none());
    }

    #[test]
    fn what_was_not_tried_is_not_counted() {
        let (mut window, now) = (window(1), Instant::now());
        window.offer(1, &event(None));
        for _ in 0..9 {
            assert_eq!(deliver(&mut window, now), [1]);
            assert_eq!(window.release(1, None, now), Some(0));
            assert_eq!(window.expire(now), Some(Due::Ready));
        }
        deliver(&mut window, now);
        assert_eq!(window.release(1, Some(SECOND), now), Some(0));
        assert_eq!((window.expire(now), window.expire(now + SECOND)), (None, Some(Due::Ready)));
        assert_eq!((window.get(1).unwrap().1, window.tally().unacked), (0, 0));
        assert_eq!(window.release(2, None, now), None);
    }

    #[test]
    fn who_is_still_at_it_has_longer() {
        let (mut window, now) = (window(1), Instant::now());
        window.offer(1, &event(None));
        deliver(&mut window, now);
        window.in_progress(1, now + 20 * SECOND);
        assert_eq!(window.expire(now + 40 * SECOND), Some(Due::Note(1, 1)));
        assert_eq!(window.expire(now + 40 * SECOND), None);
        window.in_progress(1, now + 45 * SECOND);
        assert_eq!(window.expire(now + 70 * SECOND), None);
        assert_eq!(window.expire(now + 75 * SECOND), Some(Due::NoAnswer(1)));
    }

    #[test]
    fn what_has_no_room_is_loaded_later() {
        let (mut window, now) = (window(1), Instant::now());
        let many = 1 + AHEAD as u64;
        (1..=many + 5).for_each(|position| window.offer(position, &event(None)));
        assert_eq!((window.room(), window.wants()), (0, None));
        for position in 1..=many {
            assert_eq!(deliver(&mut window, now), [position]);
            window.settle(position);
        }
        window.offer(many + 6, &event(None));
        assert_eq!(deliver(&mut window, now), NOTHING, "the ones before it come first");
        assert_eq!((window.wants(), window.wants()), (Some(many), None));
        let loaded = Rc::into_inner(event(None)).unwrap();
        window.load(many + 1, loaded, 1, Some(now + SECOND));
        window.loaded(false);
        assert_eq!((window.expire(now), window.expire(now + SECOND)), (None, Some(Due::Ready)));
        assert_eq!(window.wants(), Some(many + 1));
    }

    #[test]
    fn a_worker_that_goes_leaves_what_it_had() {
        let (mut window, now, worker) = (window(9), Instant::now(), worker());
        (1..=3).for_each(|position| window.offer(position, &event(None)));
        window.delivered(1, worker, now);
        window.delivered(3, worker, now);
        window.settle(3);
        assert_eq!((window.with(worker), window.load_of(worker)), (vec![1], 1));
        assert_eq!(window.unnoted(), [(1, 1)]);
        window.forget(2);
        assert_eq!((window.load_of(worker), window.tally().unacked), (0, 0));
    }
}

//! The desk between the loop and the reader's thread: one batch at a time goes over it to the loop,
//! pokes and "it has been handed on" come back; of durable consumers, what is in the table goes one
//! way and what became of it the other. What people ask goes over it to the clerk. The only thing that
//! all sides know; what they do with it stands in outbox.rs, outbox/workers.rs, outbox/reader.rs,
//! outbox/ledger.rs and outbox/clerk.rs.

mod after;
mod papers;

use super::event::Event;
use super::window::Tally;
use crate::slots::Key;
pub(crate) use after::After;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
pub(super) use papers::{Fate, Loaded, News, Note, Question, Recall, STAMP, Want, Woken};
pub(crate) use papers::{Inquiry, Parked, Phase, Recalled, Told};
use rowcall_wire::rule::Rule;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Notes beyond which nothing more is delivered: a worker that hands back everything at once is not to
/// fill the memory. What was delivered before may still be answered.
const NOTES_MAX: usize = 4000;

/// Notes in one transaction, so that events need not wait for all of them.
const NOTES_AT_ONCE: usize = 1000;

/// Questions of listeners that wait at a time. Each takes the reader some ten milliseconds.
const RECALLS_MAX: usize = 64;

/// Questions about the tables that wait at a time. Each takes the clerk some milliseconds.
const QUESTIONS_MAX: usize = 64;

/// What both sides share.
pub(super) struct Desk {
    papers: Mutex<Papers>,
    /// Something on the desk has changed, for the reader.
    changed: Condvar,
    /// Someone has asked something, for the clerk: what changes every millisecond need not wake it.
    asked: Condvar,
    /// The same for the loop.
    bell: EventFd,
}

#[derive(Default)]
struct Papers {
    /// Whether SQL has written a row since the reader looked last.
    poked: bool,
    /// What the loop is to know, in order.
    news: Vec<News>,
    /// What became of consumers' events, to be written down.
    notes: Vec<Note>,
    /// What is to be loaded for consumers.
    wants: Vec<Want>,
    /// What listeners want to hear again. It outlives the reader's connection.
    recalls: VecDeque<Recall>,
    /// What people ask about the tables. It outlives the connection as well.
    questions: VecDeque<Question>,
    /// Counts the connections of the reader. Notes from before the current one are void: what they
    /// are about may not have been written.
    epoch: u64,
    /// What is counted of each consumer.
    tallies: HashMap<u32, Tally>,
    /// What SQL may publish to.
    rule: Arc<Rule>,
    /// Events parked before anyone could have them.
    parked: u64,
    /// How many events are held because they cannot be parked or loaded, and why.
    held: Option<(usize, String)>,
    /// Whether no more notes will come.
    finished: bool,
    /// Whether the loop has a batch that it has not handed on yet.
    under_way: bool,
    /// Whether the daemon is leaving.
    leaving: bool,
    /// Whether the reader has ended.
    ended: bool,
    /// What the reader does.
    phase: Phase,
}

impl Papers {
    /// Whether so much is to be written down already that nothing more should be delivered.
    fn is_full(&self) -> bool {
        self.notes.len() >= NOTES_MAX
    }

    /// Whether something is to be written down, loaded or found.
    fn asks(&self) -> bool {
        let nothing = self.notes.is_empty() && self.wants.is_empty();
        !nothing || !self.recalls.is_empty()
    }
}

impl Desk {
    pub(super) fn new() -> Result<Desk, Errno> {
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Desk { papers: Mutex::default(), changed: Condvar::new(), asked: Condvar::new(), bell })
    }

    /// The descriptor that tells the loop to look.
    pub(super) fn bell(&self) -> &EventFd {
        &self.bell
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Papers)) {
        change(&mut self.papers());
        self.changed.notify_all();
    }

    fn ring(&self) {
        // It fails only when it was rung 2^64 times without being heard.
        let _ = self.bell.write(1);
    }
}

/// The loop's side.
impl Desk {
    /// SQL has written a row.
    pub(super) fn poke(&self) {
        self.change(|papers| papers.poked = true);
    }

    /// Takes the news that lies there.
    pub(super) fn take_news(&self) -> Vec<News> {
        // Whoever rings again after this is heard again.
        let _ = self.bell.read();
        std::mem::take(&mut self.papers().news)
    }

    /// Something became of an event, in this epoch.
    pub(super) fn note(&self, epoch: u64, note: Note) {
        self.change(|papers| {
            if papers.epoch == epoch && !papers.finished {
                papers.notes.push(note);
            }
        });
    }

    /// Whether so much is to be written down already that nothing more should be delivered; the bell
    /// tells when that is over.
    pub(super) fn is_full(&self) -> bool {
        self.papers().is_full()
    }

    /// More of a consumer's table is wanted, in this epoch.
    pub(super) fn want(&self, epoch: u64, want: Want) {
        self.change(|papers| {
            if papers.epoch == epoch {
                papers.wants.push(want);
            }
        });
    }

    /// Someone wants to hear again what he may have missed; says no if too many do.
    pub(super) fn recall(&self, recall: Recall) -> bool {
        let mut papers = self.papers();
        let has_room = papers.recalls.len() < RECALLS_MAX;
        if has_room {
            papers.recalls.push_back(recall);
            self.changed.notify_all();
        }
        has_room
    }

    /// Someone asks about the tables; says no if too many do.
    pub(super) fn ask(&self, question: Question) -> bool {
        let mut papers = self.papers();
        let has_room = papers.questions.len() < QUESTIONS_MAX;
        if has_room {
            papers.questions.push_back(question);
            self.asked.notify_one();
        }
        has_room
    }

    /// Someone is gone, or waits no longer, and what he asks need not be answered.
    pub(super) fn withdraw(&self, client: Key) {
        let mut papers = self.papers();
        papers.recalls.retain(|recall| recall.client != client);
        papers.questions.retain(|question| question.client != client);
    }

    /// What is counted of these consumers by now.
    pub(super) fn tell_tallies(&self, tallies: Vec<(u32, Tally)>) {
        self.papers().tallies.extend(tallies);
    }

    /// What SQL may publish to from now on.
    pub(super) fn set_rule(&self, rule: Rule) {
        self.papers().rule = Arc::new(rule);
    }

    /// Events parked before anyone could have them.
    pub(super) fn parked(&self) -> u64 {
        self.papers().parked
    }

    /// How many events are held, and why, if any is.
    pub(super) fn held(&self) -> Option<(usize, String)> {
        self.papers().held.clone()
    }

    /// No more notes will come.
    pub(super) fn finish(&self) {
        self.change(|papers| papers.finished = true);
    }

    /// The batch has been handed on.
    pub(super) fn handed_on(&self) {
        self.change(|papers| papers.under_way = false);
    }

    /// The daemon leaves: nothing more is to be put on the desk.
    pub(super) fn leave(&self) {
        self.change(|papers| papers.leaving = true);
        self.asked.notify_one();
    }

    /// Whether the reader has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.papers().ended
    }

    /// What the reader does.
    pub(super) fn phase(&self) -> Phase {
        self.papers().phase.clone()
    }
}

/// The reader's side.
impl Desk {
    /// Puts a batch on the desk, once the one before it has been handed on. Says no if the daemon
    /// leaves and will not do it any more.
    pub(super) fn put(&self, batch: Vec<Event>) -> bool {
        let under_way = |papers: &mut Papers| papers.under_way;
        let mut papers =
            self.changed.wait_while(self.papers(), under_way).unwrap_or_else(PoisonError::into_inner);
        if papers.leaving {
            return false;
        }
        papers.news.push(News::Batch(batch));
        papers.under_way = true;
        self.ring();
        true
    }

    /// Tells the loop something else.
    pub(super) fn tell(&self, news: News) {
        self.papers().news.push(news);
        self.ring();
    }

    /// The connection has ended: what lies there of it is void.
    pub(super) fn end_epoch(&self) {
        let mut papers = self.papers();
        papers.epoch += 1;
        papers.notes.clear();
        papers.wants.clear();
        papers.held = None;
        let epoch = papers.epoch;
        papers.news.push(News::Epoch(epoch));
        self.ring();
    }

    /// Takes what is to be written down next: as much as fits into one transaction.
    pub(super) fn take_notes(&self) -> Vec<Note> {
        let mut papers = self.papers();
        let was_full = papers.is_full();
        let first = papers.notes.len().min(NOTES_AT_ONCE);
        let taken = papers.notes.drain(..first).collect();
        if was_full && !papers.is_full() {
            self.ring();
        }
        taken
    }

    /// What SQL may publish to by now.
    pub(super) fn rule(&self) -> Arc<Rule> {
        Arc::clone(&self.papers().rule)
    }

    /// An event was parked before anyone could have it.
    pub(super) fn count_parked(&self) {
        self.papers().parked += 1;
    }

    /// So many events are held, for this reason.
    pub(super) fn hold(&self, held: Option<(usize, &str)>) {
        let mut papers = self.papers();
        if held != papers.held.as_ref().map(|(count, why)| (*count, why.as_str())) {
            papers.held = held.map(|(count, why)| (count, why.to_owned()));
        }
    }

    /// Takes what is to be loaded.
    pub(super) fn take_wants(&self) -> Vec<Want> {
        std::mem::take(&mut self.papers().wants)
    }

    /// Takes the next question of a listener.
    pub(super) fn take_recall(&self) -> Option<Recall> {
        self.papers().recalls.pop_front()
    }

    /// What is counted of a consumer.
    pub(super) fn tally(&self, consumer: u32) -> Tally {
        self.papers().tallies.get(&consumer).copied().unwrap_or_default()
    }

    /// Waits until no more notes will come; the loop sees to that at once when the daemon leaves.
    pub(super) fn wait_finished(&self) {
        let open = |papers: &mut Papers| !papers.finished;
        drop(self.changed.wait_while(self.papers(), open).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for a time until the batch has been handed on; says whether it has. The loop takes what
    /// lies on the desk even when it leaves.
    pub(super) fn is_handed_on(&self, at_most: Duration) -> bool {
        let under_way = |papers: &mut Papers| papers.under_way;
        let papers = self.changed.wait_timeout_while(self.papers(), at_most, under_way);
        !papers.unwrap_or_else(PoisonError::into_inner).0.under_way
    }

    /// Waits until there is a reason to look again.
    pub(super) fn wait(&self, at_most: Duration) -> Woken {
        let nothing = |papers: &mut Papers| !papers.poked && !papers.leaving && !papers.asks();
        let (mut papers, _) = self
            .changed
            .wait_timeout_while(self.papers(), at_most, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut papers.poked) {
            _ if papers.leaving => Woken::Leaving,
            true => Woken::Poked,
            false if papers.asks() => Woken::Asked,
            false => Woken::Time,
        }
    }

    /// Whether SQL has written a row since this was asked, or waited for, last.
    pub(super) fn take_poke(&self) -> bool {
        std::mem::take(&mut self.papers().poked)
    }

    /// Whether the daemon is leaving.
    pub(super) fn is_leaving(&self) -> bool {
        self.papers().leaving
    }

    /// Waits for a time, unless the daemon leaves; says whether to go on.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let papers = self.changed.wait_timeout_while(self.papers(), time, |papers| !papers.leaving);
        !papers.unwrap_or_else(PoisonError::into_inner).0.leaving
    }

    /// Says what the reader does; says whether that is new.
    pub(super) fn say(&self, phase: Phase) -> bool {
        let mut papers = self.papers();
        let new = papers.phase != phase;
        papers.phase = phase;
        new
    }

    /// The reader has ended.
    pub(super) fn end(&self) {
        self.change(|papers| papers.ended = true);
        self.ring();
    }
}

/// The clerk's side.
impl Desk {
    /// Waits for the next question about the tables; none if the time is over, or the daemon leaves.
    pub(super) fn next_question(&self, at_most: Duration) -> Option<Question> {
        let nothing = |papers: &mut Papers| papers.questions.is_empty() && !papers.leaving;
        let papers = self.asked.wait_timeout_while(self.papers(), at_most, nothing);
        let mut papers = papers.unwrap_or_else(PoisonError::into_inner).0;
        if papers.leaving { None } else { papers.questions.pop_front() }
    }

    /// Which connection of the reader this is.
    pub(super) fn epoch(&self) -> u64 {
        self.papers().epoch
    }
}

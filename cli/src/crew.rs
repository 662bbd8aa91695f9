//! Several jobs that work on what is heard: one thread reads, the others work, so whichever is free takes the
//! next, and the daemon's questions whether we are there are answered meanwhile. What the work is stands
//! with the subcommands; what the daemon is told of a durable consumer's events, in settle.rs.

use crate::client::{Publisher, Received};
use crate::failure::Failure;
use crate::interrupt;
use crate::settle::{self, Unsettled, Verdict};
use crate::subscription::Subscription;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Messages that may wait for a free job; more wait in the connection. Whoever asked them will have
/// given up long before. Events of a durable consumer are no more than its --max-unacked, and all of them
/// are read: the daemon is told of each that it is in good hands.
const WAITING_MAX: usize = 256;

/// A message, and the connection that it came on.
pub(crate) struct Work {
    pub(crate) message: Received,
    pub(crate) publisher: Publisher,
    /// Whether it is a durable consumer's event, which is settled, and no request.
    pub(crate) is_event: bool,
    /// The outcome goes to the connection that it came on: to the daemon, or to a requester.
    is_answered: bool,
}

impl Work {
    /// True if nobody can be told the outcome, as the connection has ended: what has not begun by then is not
    /// begun. An event comes again, on the next connection; the requester has been told that there is no answer.
    pub(crate) fn is_obsolete(&self) -> bool {
        self.is_answered && self.publisher.has_ended()
    }
}

/// How much is worked on.
pub(crate) struct Plan {
    /// Messages at a time.
    pub(crate) jobs: u8,
    /// Messages in all.
    pub(crate) count: u64,
    /// Requests are answered.
    pub(crate) answers: bool,
}

/// Works on messages until there were as many as planned, or until Ctrl-C. `work` says what has become of each, which
/// matters to a durable consumer only; its failure is the end, and this event is given back.
pub(crate) fn run(
    subscription: &mut Subscription<'_>,
    plan: &Plan,
    work: impl Fn(&Work) -> Result<Verdict, Failure> + Sync,
) -> Result<Tally, Failure> {
    let crew = Crew {
        work,
        answers: plan.answers,
        waiting: Waiting::default(),
        unsettled: Unsettled::default(),
        counts: Counts::default(),
    };
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..plan.jobs).map(|_| scope.spawn(|| crew.job())).collect();
        scope.spawn(|| crew.unsettled.keep_waiting());
        let result = crew.take_all(subscription, plan.count);
        let rest = crew.rest(subscription);
        match result {
            Ok(()) => crew.waiting.end(),
            Err(failure) => crew.leave(failure),
        }
        rest.iter().for_each(|work| crew.settle(work, Verdict::Untried));
        jobs.into_iter().for_each(|job| drop(job.join()));
        crew.unsettled.end();
    });
    if let Some(dropped) = crew.counts.dropped(subscription.is_worker()) {
        eprintln!("rowcall: {dropped}");
    }
    let Counts { done, failed, untried, .. } = crew.counts;
    match untried.into_inner() {
        0 => {}
        untried => eprintln!("rowcall: {untried} messages that had come were not worked on"),
    }
    match crew.waiting.into_failure() {
        Some(failure) => Err(failure),
        None => Ok(Tally { done: done.into_inner(), failed: failed.into_inner() }),
    }
}

/// How many messages were worked on, by what has become of them.
pub(crate) struct Tally {
    done: u64,
    failed: u64,
}

impl Tally {
    /// Success, unless some failed: so many of all are, in these words.
    pub(crate) fn or_failure(self, what: &str) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            failed => Err(Failure::other(format!("{failed} of {} {what}", failed + self.done))),
        }
    }
}

struct Crew<F> {
    work: F,
    answers: bool,
    waiting: Waiting,
    unsettled: Unsettled,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    busy: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    untried: AtomicU64,
    /// Not begun when their connection ended; how many of them were told.
    obsolete: AtomicU64,
    told: AtomicU64,
}

impl Counts {
    /// A sentence about obsolete messages since it was last asked; `None` if there were none.
    fn dropped(&self, are_events: bool) -> Option<String> {
        let obsolete = self.obsolete.load(Relaxed);
        let dropped = obsolete - self.told.swap(obsolete, Relaxed);
        let (what, why) = match are_events {
            true => ("events", "they come again"),
            false => ("requests", "no answer would arrive"),
        };
        (dropped > 0).then(|| format!("{dropped} {what} that had not begun are dropped: {why}"))
    }
}

/// Why no more is taken.
type End = Option<Failure>;

impl<F: Fn(&Work) -> Result<Verdict, Failure>> Crew<F> {
    /// Takes so many messages. Obsolete ones come again, or come in vain, and do not count.
    fn take_all(&self, subscription: &mut Subscription<'_>, count: u64) -> Result<(), End> {
        let mut taken: u64 = 0;
        while taken.saturating_sub(self.counts.obsolete.load(Relaxed)) < count {
            self.take(subscription)?;
            taken += 1;
        }
        Ok(())
    }

    /// Takes the next message.
    fn take(&self, subscription: &mut Subscription<'_>) -> Result<(), End> {
        if self.waiting.is_leaving() {
            return Err(None);
        }
        let are_events = subscription.is_worker();
        let lost = || {
            self.waiting.take_obsolete().iter().for_each(|work| self.settle(work, Verdict::Untried));
            self.counts.dropped(are_events)
        };
        let message = subscription.next(&lost).transpose().ok_or(None)??;
        let work = self.heard(message, subscription);
        self.waiting.add(work).map_err(|work| {
            self.settle(&work, Verdict::Untried);
            None
        })
    }

    fn heard(&self, message: Received, subscription: &Subscription<'_>) -> Work {
        let publisher = subscription.publisher().clone();
        let is_event = subscription.is_worker() && settle::is_event(&message);
        if is_event {
            self.unsettled.add(&message, &publisher);
        }
        let is_answered = is_event || self.answers && message.reply.is_some();
        Work { message, publisher, is_event, is_answered }
    }

    /// What has begun is finished; what has not, another worker may still be asked.
    fn leave(&self, failure: End) {
        self.waiting.leave(failure);
        if self.counts.busy.load(Relaxed) > 0 {
            eprintln!("rowcall: leaving once what has begun is done; Ctrl-C again leaves at once");
        }
        // The jobs may all be busy, so the rest is given back from here as well.
        self.job();
    }

    /// Events that were sent to us and are not taken any more. A daemon that has gone has them back already.
    fn rest(&self, subscription: &mut Subscription<'_>) -> Vec<Work> {
        let rest = if subscription.is_worker() {
            subscription.unsubscribe().unwrap_or_default()
        } else {
            Vec::new()
        };
        rest.into_iter().map(|message| self.heard(message, subscription)).collect()
    }

    /// One job: whatever comes next, until there is no more.
    fn job(&self) {
        while let Some((work, leaving)) = self.waiting.next() {
            let is_vain = leaving || work.is_obsolete();
            let verdict = if is_vain { Verdict::Untried } else { self.work_on(&work) };
            self.settle(&work, verdict);
        }
    }

    fn work_on(&self, work: &Work) -> Verdict {
        self.counts.busy.fetch_add(1, Relaxed);
        let verdict = (self.work)(work).unwrap_or_else(|failure| {
            self.waiting.leave(Some(failure));
            // The thread that reads may be waiting for the next one.
            interrupt::leave();
            Verdict::Untried
        });
        self.counts.busy.fetch_sub(1, Relaxed);
        verdict
    }

    fn settle(&self, work: &Work, verdict: Verdict) {
        if verdict == Verdict::Untried && work.is_obsolete() {
            self.counts.obsolete.fetch_add(1, Relaxed);
            return self.unsettled.forget(work.message.reply.as_deref().unwrap_or_default(), &work.publisher);
        }
        match verdict {
            Verdict::Done => drop(self.counts.done.fetch_add(1, Relaxed)),
            Verdict::Again(_) => drop(self.counts.failed.fetch_add(1, Relaxed)),
            Verdict::Untried if !work.is_event => drop(self.counts.untried.fetch_add(1, Relaxed)),
            Verdict::Untried => {}
        }
        if work.is_event
            && let Err(failure) = self.unsettled.settle(&work.message, &work.publisher, verdict)
        {
            eprintln!("rowcall: {failure}; an event will be delivered again");
        }
    }
}

/// What was heard and not begun.
#[derive(Default)]
struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    /// Nothing more is added.
    ended: bool,
    /// Nothing more is begun.
    leaving: bool,
    /// Why, if not for Ctrl-C.
    failure: End,
}

impl Waiting {
    /// Adds one, when there is room; not if nothing more is begun.
    fn add(&self, work: Work) -> Result<(), Work> {
        let is_full =
            |state: &mut State| !work.is_event && state.queue.len() >= WAITING_MAX && !state.leaving;
        let state = self.changed.wait_while(self.state(), is_full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.leaving && !work.is_event {
            return Err(work);
        }
        state.queue.push_back(work);
        self.changed.notify_all();
        Ok(())
    }

    /// The next one, and whether it is only to be given back; `None` if no more will come.
    fn next(&self) -> Option<(Work, bool)> {
        let state = self.changed.wait_while(self.state(), |state| state.queue.is_empty() && !state.ended);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let work = state.queue.pop_front()?;
        self.changed.notify_all();
        Some((work, state.leaving))
    }

    /// Takes out what is obsolete.
    fn take_obsolete(&self) -> VecDeque<Work> {
        let mut state = self.state();
        let (obsolete, rest) = std::mem::take(&mut state.queue).into_iter().partition(Work::is_obsolete);
        state.queue = rest;
        self.changed.notify_all();
        obsolete
    }

    fn is_leaving(&self) -> bool {
        self.state().leaving
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// The first failure counts.
    fn leave(&self, failure: End) {
        let mut state = self.state();
        (state.leaving, state.ended) = (true, true);
        state.failure = state.failure.take().or(failure);
        self.changed.notify_all();
    }

    fn into_failure(self) -> End {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failure
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

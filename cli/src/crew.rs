//! Several jobs that work on what is heard: one thread reads, the others work, so whichever is free takes the
//! next, and the daemon's questions whether we are there are answered meanwhile. What the work is stands
//! with the subcommands; what the daemon is told of a durable consumer's events, in settle.rs.

use crate::client::{Publisher, Received};
use crate::failure::Failure;
use crate::settle::{self, Unsettled, Verdict};
use crate::subscription::Subscription;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Messages that may wait for a free job; more wait in the connection. Whoever asked them will have
/// given up long before.
const WAITING_MAX: usize = 256;

/// A message, and the connection that it came on.
pub(crate) struct Work {
    pub(crate) message: Received,
    pub(crate) publisher: Publisher,
}

/// Works on at most so many messages, so many at a time, until Ctrl-C. Each is shown by `show` when it comes;
/// `work` says what has become of it, which matters to a durable consumer only.
pub(crate) fn run(
    subscription: &mut Subscription<'_>,
    jobs: u8,
    count: u64,
    show: impl Fn(&Received) -> Result<(), Failure>,
    work: impl Fn(&Work) -> Result<Verdict, Failure> + Sync,
) -> Result<Tally, Failure> {
    let (queue, waiting) = mpsc::sync_channel(WAITING_MAX);
    let crew = Crew {
        waiting: Mutex::new(waiting),
        leaving: AtomicBool::new(false),
        unsettled: Unsettled::default(),
        done: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        work,
    };
    let ended = thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|_| scope.spawn(|| crew.job())).collect();
        scope.spawn(|| crew.unsettled.keep_waiting());
        let result = (0..count).try_for_each(|_| {
            let Some(message) = subscription.next().transpose() else { return Err(None) };
            let message = message.map_err(Some)?;
            crew.unsettled.add(&message, subscription.publisher());
            show(&message).map_err(Some)?;
            let publisher = subscription.publisher().clone();
            // It fails only if every job has panicked.
            queue.send(Work { message, publisher }).map_err(|_| Some(Failure::other("no job is left")))
        });
        drop(queue);
        if result.is_err() {
            // What has begun is finished; what has not, another worker may still be asked. The jobs may all
            // be busy, so that is given back from here as well.
            crew.leaving.store(true, Relaxed);
            eprintln!("rowcall: leaving once what has begun is done; Ctrl-C again leaves at once");
            crew.job();
        }
        jobs.into_iter().for_each(|job| drop(job.join()));
        crew.unsettled.end();
        result.or_else(|failure| failure.map_or(Ok(()), Err))
    });
    ended.map(|()| Tally { done: crew.done.into_inner(), failed: crew.failed.into_inner() })
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
    waiting: Mutex<Receiver<Work>>,
    leaving: AtomicBool,
    unsettled: Unsettled,
    done: AtomicU64,
    failed: AtomicU64,
    work: F,
}

impl<F: Fn(&Work) -> Result<Verdict, Failure>> Crew<F> {
    /// One job: whatever comes next, until there is no more.
    fn job(&self) {
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(work) = next else { return };
            if let Err(failure) = self.deal_with(&work) {
                eprintln!("rowcall: {failure}; a reply was lost");
            }
        }
    }

    fn deal_with(&self, work: &Work) -> Result<(), Failure> {
        let verdict = if self.leaving.load(Relaxed) { Verdict::Again(None) } else { self.work_on(work)? };
        match settle::is_event(&work.message) {
            true => self.unsettled.settle(&work.message, &work.publisher, verdict),
            false => Ok(()),
        }
    }

    fn work_on(&self, work: &Work) -> Result<Verdict, Failure> {
        let verdict = (self.work)(work)?;
        let counter = if verdict == Verdict::Done { &self.done } else { &self.failed };
        counter.fetch_add(1, Relaxed);
        Ok(verdict)
    }
}

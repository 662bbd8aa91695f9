//! The desk between the loop and the reader's thread: one batch at a time goes over it to the loop,
//! pokes and "it has been handed on" come back. The only thing that both sides know; what they do
//! with it stands in outbox.rs and outbox/reader.rs.

use super::event::Event;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What both sides share.
pub(super) struct Desk {
    papers: Mutex<Papers>,
    /// Something on the desk has changed, for the reader.
    changed: Condvar,
    /// The same for the loop.
    bell: EventFd,
}

#[derive(Default)]
struct Papers {
    /// Whether SQL has written a row since the reader looked last.
    poked: bool,
    /// Events for the loop to hand on.
    batch: Option<Vec<Event>>,
    /// Whether the loop has a batch that it has not handed on yet.
    under_way: bool,
    /// Whether the daemon is leaving.
    leaving: bool,
    /// Whether the reader has ended.
    ended: bool,
    /// What the reader does.
    phase: Phase,
}

/// What the reader does, or why it does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It connects for the first time.
    #[default]
    Starting,
    /// Another daemon reads this outbox; it waits for that one's end.
    StandingBy,
    /// It reads.
    Reading,
    /// It cannot, for this reason, and tries again.
    Waiting(String),
}

/// Why the reader should look again.
pub(super) enum Woken {
    /// SQL has written a row; its transaction may be open still.
    Poked,
    /// Nothing has happened in the time given.
    Time,
    /// The daemon is leaving.
    Leaving,
}

impl Desk {
    pub(super) fn new() -> Result<Desk, Errno> {
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Desk { papers: Mutex::default(), changed: Condvar::new(), bell })
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

    /// Takes the batch that lies there.
    pub(super) fn take_batch(&self) -> Option<Vec<Event>> {
        // Whoever rings again after this is heard again.
        let _ = self.bell.read();
        self.papers().batch.take()
    }

    /// The batch has been handed on.
    pub(super) fn handed_on(&self) {
        self.change(|papers| papers.under_way = false);
    }

    /// The daemon leaves: nothing more is to be put on the desk.
    pub(super) fn leave(&self) {
        self.change(|papers| papers.leaving = true);
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
        papers.batch = Some(batch);
        papers.under_way = true;
        self.ring();
        true
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
        let nothing = |papers: &mut Papers| !papers.poked && !papers.leaving;
        let (mut papers, _) = self
            .changed
            .wait_timeout_while(self.papers(), at_most, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut papers.poked) {
            _ if papers.leaving => Woken::Leaving,
            true => Woken::Poked,
            false => Woken::Time,
        }
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

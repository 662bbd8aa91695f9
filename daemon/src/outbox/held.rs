//! Work on single events that the server refuses for now: it is held aside and tried again, one piece at a
//! time and ever more seldom, while everything else goes on. No fd, no clock and no SQL live here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The pause after the first attempt that has failed. Each further one in vain doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause, unless an attempt takes long itself.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A pause is at least so many times what the attempt took: one that waits a second for a lock keeps
/// everything else waiting for a tenth of the time.
const PAUSE_PART: u32 = 9;

/// Pieces that are held of one kind. Each read leaves out the rows that are held, by their ids in a list: some
/// 50 KB of text with so many.
const HELD_MAX: usize = 5000;

/// Pieces of work in their order, the next attempt's time, and the latest reason for waiting.
pub(super) struct Held<T> {
    waiting: VecDeque<T>,
    pause: Duration,
    next: Option<Instant>,
    why: Option<String>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held { waiting: VecDeque::new(), pause: PAUSE_MIN, next: None, why: None }
    }
}

impl<T> Held<T> {
    /// One more piece of work, which is due unless another one has just failed.
    pub(super) fn add(&mut self, work: T) {
        self.waiting.push_back(work);
    }

    /// The next piece of work, if its time has come. What becomes of it is told by `done` or `failed`.
    pub(super) fn due(&mut self, now: Instant) -> Option<T> {
        if self.rests(now) { None } else { self.waiting.pop_front() }
    }

    /// An attempt has worked: the others need not wait any more.
    pub(super) fn done(&mut self) {
        (self.pause, self.next, self.why) = (PAUSE_MIN, None, None);
    }

    /// An attempt has failed, for this reason and after this time: it comes again behind the others. Returns
    /// true if the reason is a new one.
    pub(super) fn failed(&mut self, work: T, why: &str, took: Duration, now: Instant) -> bool {
        self.waiting.push_back(work);
        self.next = Some(now + self.pause.max(PAUSE_PART * took));
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        let is_new = self.why.as_deref() != Some(why);
        self.why = Some(why.to_owned());
        is_new
    }

    /// Nothing is tried now, as an attempt has just failed.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| now < next)
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= HELD_MAX
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }

    /// The number of pieces that wait, and why, if an attempt has failed.
    pub(super) fn trouble(&self) -> Option<(usize, &str)> {
        self.why.as_deref().map(|why| (self.waiting.len(), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_comes_again_behind_the_others_and_ever_later() {
        let (mut held, mut now) = (Held::default(), Instant::now());
        [1, 2].into_iter().for_each(|work| held.add(work));
        assert_eq!(held.due(now), Some(1));
        assert!(held.failed(1, "full", Duration::ZERO, now));
        held.add(3);
        assert_eq!((held.due(now), held.trouble()), (None, Some((3, "full"))));
        now += PAUSE_MIN;
        assert_eq!(held.due(now), Some(2));
        assert!(!held.failed(2, "full", Duration::ZERO, now), "that was told");
        assert_eq!(held.due(now + PAUSE_MIN), None);
        now += 2 * PAUSE_MIN;
        assert_eq!(held.due(now), Some(1));
        held.done();
        assert_eq!([held.due(now), held.due(now), held.due(now)], [Some(3), Some(2), None]);
        assert_eq!(held.trouble(), None);
    }

    #[test]
    fn an_attempt_that_takes_long_is_made_seldom() {
        let (mut held, now) = (Held::default(), Instant::now());
        held.failed(1, "locked", Duration::from_secs(1), now);
        assert!(held.rests(now + Duration::from_secs(8)) && !held.rests(now + Duration::from_secs(9)));
    }
}

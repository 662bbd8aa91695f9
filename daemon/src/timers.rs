//! Deadlines: one table for all of them. It tells how long the loop may sleep and which deadlines
//! have passed. No clock lives here; time is an argument.
//!
//! A deadline is never taken back. Whoever set it looks, when it comes, at what the truth is by
//! then and sets the next one: so traffic on a connection touches no timer, and a connection that
//! is gone is simply not found.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The table. `T` says who set the deadline.
#[derive(Debug)]
pub struct Timers<T: Ord> {
    heap: BinaryHeap<Reverse<(Instant, T)>>,
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new() }
    }
}

impl<T: Ord> Timers<T> {
    /// Sets one more deadline.
    pub fn set(&mut self, at: Instant, who: T) {
        self.heap.push(Reverse((at, who)));
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Whose deadline has passed, the earliest first; `None` once all such were told.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, who))| who)
    }
}

/// A deadline that someone moves often, and of which a table of deadlines keeps every one that was ever
/// set: only the soonest counts, and is set again when it has passed.
#[derive(Default)]
pub struct Soonest {
    set: Option<Instant>,
}

impl Soonest {
    /// Something is due then; says whether that is to be set, being sooner than what is set.
    pub fn is_sooner(&mut self, at: Instant) -> bool {
        let sooner = self.set.is_none_or(|set| at < set);
        if sooner {
            self.set = Some(at);
        }
        sooner
    }

    /// A deadline has passed; says whether it is the one that counts.
    pub fn has_passed(&mut self, now: Instant) -> bool {
        let passed = self.set.is_some_and(|set| set <= now);
        if passed {
            self.set = None;
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn passed_deadlines_come_in_order_and_once() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(after(30), 'c');
        timers.set(after(10), 'a');
        timers.set(after(20), 'b');
        assert_eq!(timers.next(), Some(after(10)));
        assert_eq!(timers.pop(after(5)), None);
        assert_eq!(timers.pop(after(20)), Some('a'));
        assert_eq!(timers.pop(after(20)), Some('b'));
        assert_eq!(timers.pop(after(20)), None);
        assert_eq!(timers.next(), Some(after(30)));
    }

    #[test]
    fn of_a_deadline_that_moves_only_the_soonest_counts() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut soonest = Soonest::default();
        assert!(soonest.is_sooner(now + 5 * second) && soonest.is_sooner(now + 2 * second));
        assert!(!soonest.is_sooner(now + 3 * second));
        assert!(!soonest.has_passed(now + second) && soonest.has_passed(now + 2 * second));
        assert!(!soonest.has_passed(now + 5 * second), "the later one was set as well, and means nothing");
        assert!(soonest.is_sooner(now + 7 * second));
        assert!(!soonest.has_passed(now + 5 * second) && soonest.has_passed(now + 7 * second));
    }
}

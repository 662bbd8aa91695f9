//! How often someone may try to log in and fail: a limit for each address, in a table of bounded size.
//! No clock and no address of any kind lives here; `K` names an address.
//!
//! Each attempt costs one of a few that an address has, and they come back with time. One that
//! succeeds costs nothing, so that a crowd of good clients is not held up.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Attempts that may fail one after the other, or be under way at a time: a person who has forgotten the
/// password, a service with several workers that were given a wrong one. At a tenth of a second for each
/// check, one address keeps the others waiting for at most a second.
pub(crate) const BURST: u32 = 10;

/// How long it takes until one more may fail. With it, whoever guesses gets through 28,800 passwords a
/// day from an address.
pub(crate) const PAUSE: Duration = Duration::from_secs(3);

/// Addresses that are remembered; a table of this size takes about 200 KiB. Of more, those whose
/// attempts are the nearest to being all back are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// The table.
#[derive(Debug)]
pub(crate) struct Attempts<K> {
    /// When all attempts will be back.
    full_at: HashMap<K, Instant>,
}

impl<K> Default for Attempts<K> {
    fn default() -> Self {
        Attempts { full_at: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Attempts<K> {
    /// Takes one attempt, if one is left.
    pub(crate) fn take(&mut self, from: K, now: Instant) -> bool {
        let full_at = self.full_at.get(&from).copied().unwrap_or(now).max(now);
        if full_at > now + PAUSE * (BURST - 1) {
            return false;
        }
        if self.full_at.len() >= ADDRESSES_MAX && !self.full_at.contains_key(&from) {
            self.make_room(now);
        }
        self.full_at.insert(from, full_at + PAUSE);
        true
    }

    /// It succeeded: gives the attempt back.
    pub(crate) fn give_back(&mut self, from: K, now: Instant) {
        if let Some(full_at) = self.full_at.get_mut(&from) {
            *full_at = full_at.checked_sub(PAUSE).unwrap_or(now);
            if *full_at <= now {
                self.full_at.remove(&from);
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= ADDRESSES_MAX
            && let Some(nearest) = self.full_at.iter().min_by_key(|(_, at)| **at).map(|(from, _)| *from)
        {
            self.full_at.remove(&nearest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_fail_and_then_one_in_each_pause() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..BURST {
            assert!(attempts.take(1, now), "{n}");
        }
        assert!(!attempts.take(1, now));
        assert!(attempts.take(2, now), "another address");
        let nearly = now + PAUSE - Duration::from_millis(1);
        assert!(!attempts.take(1, nearly));
        assert!(attempts.take(1, now + PAUSE));
        assert!(!attempts.take(1, now + PAUSE));
        let later = now + PAUSE * 100;
        assert_eq!((0..100).filter(|_| attempts.take(1, later)).count(), BURST as usize);
    }

    #[test]
    fn success_costs_nothing() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..1000 {
            assert!(attempts.take(1, now));
            attempts.give_back(1, now);
        }
        assert!(attempts.full_at.is_empty());
        // But does not pay for what failed.
        for _ in 0..BURST {
            attempts.take(1, now);
        }
        attempts.give_back(1, now);
        assert!(attempts.take(1, now) && !attempts.take(1, now));
        attempts.give_back(9, now);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..BURST {
            attempts.take(0, now);
        }
        for from in 1..3 * ADDRESSES_MAX {
            assert!(attempts.take(from, now));
        }
        assert_eq!(attempts.full_at.len(), ADDRESSES_MAX);
        assert!(!attempts.take(0, now), "whoever failed most is remembered longest");
    }
}

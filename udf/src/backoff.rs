//! When to try the daemon again after it could not be reached, and for how long it counts as stalled
//! after someone waited for it in vain: one answer for the whole process, so that a daemon that is
//! away costs a row a few nanoseconds and not a connect(), and one that is stopped costs one wait and
//! not a wait for each session. No clock lives here; time is an argument, in nanoseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long nobody tries after a failure, in nanoseconds. A connect() to nobody costs 3 to 8
/// microseconds; once in 100 ms it is lost in the noise, and a daemon that is back is found soon.
pub(crate) const PAUSE: u64 = 100_000_000;

/// The state. It starts with "try".
pub(crate) struct Backoff {
    /// Nobody tries before; 0 while all is well.
    until: AtomicU64,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Backoff { until: AtomicU64::new(0) }
    }

    /// Whether the caller may try now. While all is well everyone may; after a failure one caller
    /// a pause.
    pub(crate) fn may_try(&self, now: u64) -> bool {
        let until = self.until.load(Relaxed);
        until == 0 || is_first(&self.until, until, now, PAUSE)
    }

    /// The caller tried in vain.
    pub(crate) fn failed(&self, now: u64) {
        self.until.store(now + PAUSE, Relaxed);
    }

    /// The caller got through.
    pub(crate) fn succeeded(&self) {
        self.until.store(0, Relaxed);
    }
}

/// How far apart pokes are, in nanoseconds: under a load each of them would wake the daemon, which
/// looks again after a millisecond by itself.
pub(crate) const POKE_PAUSE: u64 = 1_000_000;

/// Lets one caller in each pause go.
pub(crate) struct Pace {
    /// Nobody goes before.
    until: AtomicU64,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Pace { until: AtomicU64::new(0) }
    }

    /// Whether the caller may go.
    pub(crate) fn may_go(&self, now: u64) -> bool {
        is_first(&self.until, self.until.load(Relaxed), now, POKE_PAUSE)
    }
}

/// Whether the time that was seen has come, and the caller is the first to find that; then it comes
/// again after the pause. Someone may have set another time since, and then it is not the first.
fn is_first(time: &AtomicU64, seen: u64, now: u64, pause: u64) -> bool {
    now >= seen && time.compare_exchange(seen, now + pause, Relaxed, Relaxed).is_ok()
}

/// How long a wait in vain speaks for all sessions, in nanoseconds, unless another one follows it or
/// someone gets on. Whoever has waited may not come back to find out that the daemon works again;
/// so after a second the next one may wait: 20 ms in a thousand.
pub(crate) const STALL_MEMORY: u64 = 1_000_000_000;

/// Whether the daemon takes nothing.
pub(crate) struct Stall {
    /// Until when it counts as stalled; 0 while all is well.
    until: AtomicU64,
}

impl Stall {
    pub(crate) const fn new() -> Self {
        Stall { until: AtomicU64::new(0) }
    }

    /// Whether someone has waited in vain lately.
    pub(crate) fn is_on(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// The caller found the daemon to take nothing.
    pub(crate) fn found(&self, now: u64) {
        self.until.store(now + STALL_MEMORY, Relaxed);
    }

    /// The caller got on.
    pub(crate) fn is_over(&self) {
        self.until.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_may_try_until_one_fails_then_one_a_pause() {
        let backoff = Backoff::new();
        assert!(backoff.may_try(5) && backoff.may_try(5));
        backoff.failed(10);
        assert!(!backoff.may_try(11) && !backoff.may_try(9 + PAUSE));
        assert!(backoff.may_try(10 + PAUSE), "one may try after the pause");
        assert!(!backoff.may_try(10 + PAUSE), "and only one");
        assert!(backoff.may_try(11 + 2 * PAUSE), "even if that one never says how it went");
        backoff.succeeded();
        assert!(backoff.may_try(12 + 2 * PAUSE) && backoff.may_try(12 + 2 * PAUSE));
    }

    #[test]
    fn one_in_each_pause_may_go() {
        let pace = Pace::new();
        assert!(pace.may_go(5) && !pace.may_go(5) && !pace.may_go(4 + POKE_PAUSE));
        assert!(pace.may_go(5 + POKE_PAUSE) && !pace.may_go(6 + POKE_PAUSE));
    }

    #[test]
    fn a_stall_is_remembered_for_a_while_or_until_someone_gets_on() {
        let stall = Stall::new();
        assert!(!stall.is_on(0));
        stall.found(10);
        assert!(stall.is_on(9 + STALL_MEMORY) && !stall.is_on(10 + STALL_MEMORY));
        stall.found(20);
        assert!(stall.is_on(10 + STALL_MEMORY), "another one prolongs it");
        stall.is_over();
        assert!(!stall.is_on(21));
    }
}

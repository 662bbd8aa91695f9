//! When to try the daemon again after it could not be reached: one answer for the whole process, so
//! that a daemon that is away costs a row a few nanoseconds and not a connect(). No clock lives
//! here; time is an argument, in nanoseconds.

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
        until == 0
            || (now >= until && self.until.compare_exchange(until, now + PAUSE, Relaxed, Relaxed).is_ok())
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
}

//! Waiting for the socket in bounded time, and noticing that the statement was killed meanwhile.

use crate::counters::Reason;
use crate::killed::killed;
use crate::socket::{For, Socket};
use std::time::{Duration, Instant};

/// A wait is made of slices, and the server is asked after each whether the statement was killed.
const SLICE: Duration = Duration::from_millis(20);

/// The longest wait where the server cannot be asked.
const UNKILLABLE_WAIT: Duration = Duration::from_secs(1);

/// A wait of bounded length, in slices.
pub(super) struct Wait {
    until: Instant,
}

impl Wait {
    pub(super) fn until(until: Instant) -> Wait {
        let until = if killed().is_some() { until } else { until.min(Instant::now() + UNKILLABLE_WAIT) };
        Wait { until }
    }

    /// Whether it may go on: for whoever is kept busy by what comes. Fails as [`slice`](Self::slice) does.
    pub(super) fn check(&self) -> Result<(), Reason> {
        if killed() == Some(true) {
            return Err(Reason::Killed);
        }
        if Instant::now() >= self.until { Err(Reason::Stalled) } else { Ok(()) }
    }

    /// Waits for one slice, or until the socket is ready. Fails when the time is over or the
    /// statement was killed.
    pub(super) fn slice(&mut self, socket: &Socket, what: For) -> Result<(), Reason> {
        if killed() == Some(true) {
            return Err(Reason::Killed);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        let ready = socket.wait(what, left.min(SLICE));
        if !ready && left.is_zero() { Err(Reason::Stalled) } else { Ok(()) }
    }
}

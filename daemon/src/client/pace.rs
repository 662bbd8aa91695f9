//! Publishers go at the pace of their slowest reader, except SQL.
//!
//! A message that a reader is owed too much to be given as well is not given to anybody: its
//! publisher is held, and is not read from, until there is room. So nothing that is published over
//! TCP or HTTP, or by a program on the Unix socket, brings a reader near `max_pending`; the kernel
//! slows the publisher down, as it does between any two programs. Publishers to others go on. The
//! library inside the server is never held: an SQL statement would be. What it sends may fill the
//! rest, and then the reader is cut off.

use super::Client;
use crate::config::Config;
use crate::slots::Key;
use crate::{Daemon, NEXT_TURN, Timer};
use std::time::{Duration, Instant};

/// The share of `max_pending` that publishers outside SQL may fill while a reader reads: a half.
const OUTSIDE: usize = 2;

/// What they may fill besides while it takes nothing: a quarter, over the whole of
/// `write_deadline`. So those who read beside it go on hearing something (1.6 MiB a second with the
/// defaults), it is not cut off before its time, and a quarter is left to SQL.
const TRICKLE: usize = 4;

/// The share of `max_pending` that a reader must have taken below the half before publishers that
/// wait for it go on: 4 MiB with the default, so that what was kept of each is looked at a few
/// times and not for each message.
const SLACK: usize = 16;

/// In so many steps of `write_deadline` the trickle comes: every 20 ms with the default.
const STEPS: u32 = 500;

/// What a reader may be owed, in bytes, and how long it may take nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// More is never owed, whoever sends.
    pub(crate) max_pending: usize,
    /// The largest message.
    pub(crate) max_message: usize,
    /// After so long without progress a reader is cut off.
    pub(crate) write_deadline: Duration,
}

impl Pace {
    /// How much may be owed for publishers outside SQL to be able to send one more message, to a reader
    /// that reads. One more always fits.
    pub(crate) fn share(self) -> usize {
        (self.max_pending / OUTSIDE).min(self.room())
    }

    /// How much may be owed for one more message to fit.
    fn room(self) -> usize {
        self.max_pending.saturating_sub(self.max_message)
    }

    /// The same to a reader that has taken nothing for so long.
    fn ceiling(self, still: Duration) -> usize {
        let passed = still.as_secs_f64() / self.write_deadline.as_secs_f64().max(f64::MIN_POSITIVE);
        let trickle = (self.max_pending / TRICKLE) as f64 * passed.min(1.0);
        (self.max_pending / OUTSIDE + trickle as usize).min(self.room())
    }

    /// How much may be owed at most for publishers that wait to go on.
    fn floor(self) -> usize {
        self.share().saturating_sub(self.max_pending / SLACK)
    }
}

impl Client {
    /// Whether a publisher has to wait until it is owed less.
    fn is_full(&self, now: Instant, pace: Pace) -> bool {
        let still = self.blocked_since.map_or(Duration::ZERO, |since| now - since);
        self.is_open() && self.owed.len() > pace.ceiling(still)
    }

    /// Notes that it is owed more than publishers outside SQL may have it owed, if it is.
    #[inline]
    pub(crate) fn note_lag(&mut self, share: usize, lagging: &mut usize) {
        if !self.lags && self.owed.len() > share {
            self.lags = true;
            *lagging += 1;
        }
    }

    /// Whether it is not read from until somebody it publishes to has room.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }
}

impl Daemon {
    /// Whether a reader is full, as publishers outside SQL see it.
    fn is_full(&self, reader: Key) -> bool {
        let pace = self.config.pace();
        self.clients.get(reader).is_some_and(|client| client.is_full(self.now, pace))
    }

    /// Notes that a reader has room again, if it has, and lets those go on who waited for it.
    pub(super) fn note_room(&mut self, key: Key) {
        let most = self.config.pace().floor();
        if let Some(client) = self.clients.get_mut(key)
            && client.lags
            && client.owed.len() <= most
        {
            self.end_lag(key);
        }
    }

    /// A reader does not lag any more, or is gone.
    pub(super) fn end_lag(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        self.lagging -= usize::from(std::mem::take(&mut client.lags));
        for publisher in std::mem::take(&mut client.waited_for_by) {
            let Some(client) = self.clients.get_mut(publisher) else { continue };
            if client.waits_for == Some(key) {
                client.waits_for = None;
                // In the next turn, as this one may be writing.
                self.timers.set(self.now + NEXT_TURN, Timer::Client(publisher));
            }
        }
    }

    /// The reader that this client has to wait for before it publishes to this subject.
    pub(crate) fn full_reader(&mut self, from: Key, subject: &[u8]) -> Option<Key> {
        if self.lagging == 0 || self.leave_by.is_some() {
            return None;
        }
        self.clients.get(from).filter(|client| !client.standing.is_library)?;
        let matches = self.subjects.matches(subject);
        let full = |&subscription: &Key| {
            let reader = self.subscriptions.get(subscription)?.client;
            (self.would_take(from, subscription, subject) && self.is_full(reader)).then_some(reader)
        };
        // One of a queue group is enough.
        let of_group = |members: &Vec<Key>| {
            let first = full(members.first()?)?;
            members.iter().all(|member| full(member).is_some()).then_some(first)
        };
        matches.plain.iter().find_map(full).or_else(|| matches.groups.iter().find_map(of_group))
    }

    /// Whether somebody lags who hears this subject.
    pub(crate) fn has_lagging_reader(&mut self, subject: &[u8]) -> bool {
        let matches = if self.lagging > 0 { self.subjects.matches(subject) } else { return false };
        let mut hearing = matches.plain.iter().chain(matches.groups.iter().flatten());
        hearing.any(|&subscription| self.is_lagging(subscription))
    }

    /// Whether the client lags whose subscription this is.
    pub(crate) fn is_lagging(&self, subscription: Key) -> bool {
        let client = self.subscriptions.get(subscription).and_then(|found| self.clients.get(found.client));
        client.is_some_and(|client| client.lags)
    }

    /// Stops reading from a publisher until this reader has room.
    pub(crate) fn hold(&mut self, publisher: Key, reader: Key) {
        let Some(client) = self.clients.get_mut(publisher) else { return };
        client.held = true;
        self.stats.held += 1;
        if client.waits_for.replace(reader) != Some(reader)
            && let Some(reader) = self.clients.get_mut(reader)
        {
            reader.waited_for_by.push(publisher);
        }
        self.watch(publisher);
        self.set_deadline(publisher);
    }

    /// Goes on with a publisher, if whom it waits for has room.
    pub(super) fn go_on_if_room(&mut self, publisher: Key) {
        let awaited = self.clients.get(publisher).and_then(|client| client.waits_for);
        if !awaited.is_some_and(|reader| self.is_full(reader)) {
            self.let_go(publisher);
        }
    }

    /// Does what was kept of a publisher that was held, and reads from it again.
    pub(crate) fn let_go(&mut self, publisher: Key) {
        let Some(client) = self.clients.get_mut(publisher) else { return };
        if !std::mem::take(&mut client.held) {
            return;
        }
        // It could say nothing meanwhile.
        client.last_read = self.now;
        self.watch(publisher);
        if self.clients.get(publisher).is_some_and(|client| client.visit.is_some()) {
            self.go_on_with_request(publisher);
        } else {
            self.feed_kept(publisher);
        }
    }

    /// When it is looked at next whether this publisher may go on, though its reader takes nothing.
    pub(super) fn trickle_due(&self, client: &Client) -> Option<Instant> {
        client.held.then(|| self.now + self.config.write_deadline.0 / STEPS)
    }
}

impl Config {
    /// What a reader may be owed, and how long it may take nothing.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            max_pending: self.max_pending.0,
            max_message: self.max_payload.0 + rowcall_wire::CONTROL_LINE_MAX,
            write_deadline: self.write_deadline.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn pace(max_pending: usize, max_message: usize) -> Pace {
        Pace { max_pending, max_message, write_deadline: Duration::from_secs(10) }
    }

    #[test]
    fn a_reader_that_takes_nothing_fills_slowly_and_leaves_a_quarter_to_sql() {
        let at = |millis| pace(64 * MIB, MIB).ceiling(Duration::from_millis(millis));
        assert_eq!((at(0), at(5_000), at(10_000), at(60_000)), (32 * MIB, 40 * MIB, 48 * MIB, 48 * MIB));
        assert!((0..10_000).all(|millis| at(millis) <= at(millis + 1)));
    }

    #[test]
    fn one_more_message_always_fits() {
        for max_pending in [MIB, MIB + 1, 3 * MIB / 2, 2 * MIB, 3 * MIB, 64 * MIB] {
            let pace = pace(max_pending, MIB);
            assert!(pace.floor() <= pace.share(), "{pace:?}");
            for seconds in 0..20 {
                assert!(pace.ceiling(Duration::from_secs(seconds)) + MIB <= max_pending, "{pace:?}");
            }
        }
    }

    #[test]
    fn a_deadline_of_nothing_is_over_at_once() {
        let pace = Pace { write_deadline: Duration::ZERO, ..pace(64 * MIB, MIB) };
        assert_eq!(pace.ceiling(Duration::from_millis(1)), 48 * MIB);
        assert_eq!(pace.ceiling(Duration::ZERO), 32 * MIB);
    }
}

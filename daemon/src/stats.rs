//! What was counted, and why a connection ended. Nothing here is reset while the daemon runs.

use nix::errno::Errno;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::SystemTime;

/// Counters of one run. A message that reaches nobody, or that a subscriber was owed when its
/// connection ended, is counted here: nothing is lost silently.
#[derive(Debug)]
pub struct Stats {
    /// When the run began.
    pub started: SystemTime,
    /// Messages published to us.
    pub in_msgs: u64,
    /// Their headers and payloads, in bytes.
    pub in_bytes: u64,
    /// Messages queued for subscribers, each copy counted.
    pub out_msgs: u64,
    /// Their headers and payloads, in bytes.
    pub out_bytes: u64,
    /// Messages published that no subscription took.
    pub unheard: u64,
    /// How often a publisher had to wait for a reader.
    pub held: u64,
    /// Messages that came to be traced and not to be delivered; nothing traces here, and nobody got them.
    pub trace_only: u64,
    /// Requests answered with "no responders". They are among the unheard.
    pub no_responders: u64,
    /// Bytes that subscribers were still owed when their connections ended.
    pub lost_bytes: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Connections refused because credentials were wrong or missing, or the account's was not to use the
    /// socket.
    pub auth_failures: u64,
    /// Connections refused because they did not log in in time, or there was no time to look.
    pub auth_timeouts: u64,
    /// Messages that a client was not allowed to publish.
    pub forbidden_publish: u64,
    /// Subscriptions that a client was not allowed to make, or to keep.
    pub forbidden_subscribe: u64,
    /// Messages and subscriptions of SQL that were not allowed.
    pub forbidden_sql: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections ended, by [`Reason::index`]: those of NATS clients, and those of HTTP.
    closed: [[u64; Reason::NAMES.len()]; 2],
}

impl Stats {
    /// Zeroes, from now on.
    pub fn new() -> Stats {
        Stats {
            started: SystemTime::now(),
            in_msgs: 0,
            in_bytes: 0,
            out_msgs: 0,
            out_bytes: 0,
            unheard: 0,
            held: 0,
            trace_only: 0,
            no_responders: 0,
            lost_bytes: 0,
            logins: 0,
            auth_failures: 0,
            auth_timeouts: 0,
            forbidden_publish: 0,
            forbidden_subscribe: 0,
            forbidden_sql: 0,
            connections: 0,
            closed: [[0; Reason::NAMES.len()]; 2],
        }
    }

    /// Connections ended because their readers were too slow, for either cause.
    pub fn slow_consumers(&self) -> u64 {
        let slow = |closed: &[u64]| closed[Reason::SlowPending.index()] + closed[Reason::SlowWrite.index()];
        self.closed.iter().map(|closed| slow(closed)).sum()
    }

    /// A connection has ended, one of HTTP or of a NATS client.
    pub fn count_closed(&mut self, reason: Reason, http: bool) {
        self.closed[usize::from(http)][reason.index()] += 1;
    }

    /// Why those of HTTP, or of NATS clients, have ended.
    pub fn closed(&self, http: bool) -> Named<{ Reason::NAMES.len() }> {
        Named { names: Reason::NAMES, counts: self.closed[usize::from(http)] }
    }
}

/// Counts of one kind of thing, each with the name that tells it from the others: an object in JSON, a label in
/// Prometheus.
#[derive(Clone, Copy, Debug)]
pub struct Named<const N: usize> {
    pub names: [&'static str; N],
    pub counts: [u64; N],
}

impl<const N: usize> Named<N> {
    /// Each name and its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.names.into_iter().zip(self.counts)
    }
}

impl<const N: usize> Serialize for Named<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer closed it.
    ClientClosed,
    /// Reading or writing failed.
    Broken(Errno),
    /// The peer was told this with `-ERR`.
    Refused(&'static str),
    /// The peer's operation made no sense, in a way that the reference answers with silence.
    Malformed,
    /// The peer was owed more than it may be.
    SlowPending,
    /// The peer was owed something and took nothing for too long.
    SlowWrite,
    /// We are leaving.
    Leaving,
    /// The peer wanted TLS, and its handshake or a record failed.
    Tls,
    /// An HTTP connection has had its last answer, or asked nothing any more.
    Served,
}

impl Reason {
    /// For the counters.
    pub const NAMES: [&'static str; 9] = [
        "client_closed",
        "broken",
        "refused",
        "malformed",
        "slow_pending",
        "slow_write",
        "leaving",
        "tls",
        "served",
    ];

    /// Which of the names it is.
    pub fn index(self) -> usize {
        match self {
            Reason::ClientClosed => 0,
            Reason::Broken(_) => 1,
            Reason::Refused(_) => 2,
            Reason::Malformed => 3,
            Reason::SlowPending => 4,
            Reason::SlowWrite => 5,
            Reason::Leaving => 6,
            Reason::Tls => 7,
            Reason::Served => 8,
        }
    }

    /// Whether the connection ends at once, without writing what is owed.
    pub fn is_abrupt(self) -> bool {
        matches!(self, Reason::Broken(_) | Reason::SlowPending | Reason::SlowWrite)
    }

    /// Whether an administrator wants to hear of it.
    pub fn is_slow(self) -> bool {
        matches!(self, Reason::SlowPending | Reason::SlowWrite)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::ClientClosed => f.write_str("the client closed it"),
            Reason::Broken(errno) => write!(f, "the connection broke: {errno}"),
            Reason::Refused(text) => write!(f, "refused: {text}"),
            Reason::Malformed => f.write_str("an operation that makes no sense"),
            Reason::SlowPending => f.write_str("slow consumer: owed more than max_pending"),
            Reason::SlowWrite => f.write_str("slow consumer: took nothing for write_deadline"),
            Reason::Leaving => f.write_str("rowcalld is leaving"),
            Reason::Tls => f.write_str("TLS failed"),
            Reason::Served => f.write_str("it was served"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let reasons = [
            Reason::ClientClosed,
            Reason::Broken(Errno::EPIPE),
            Reason::Refused(""),
            Reason::Malformed,
            Reason::SlowPending,
            Reason::SlowWrite,
            Reason::Leaving,
            Reason::Tls,
            Reason::Served,
        ];
        for (n, reason) in reasons.iter().enumerate() {
            assert_eq!(reason.index(), n);
        }
        assert_eq!(reasons.len(), Reason::NAMES.len());
    }
}

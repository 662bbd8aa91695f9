//! What was sent, and what was not and why: counters of the whole server process, and the reason of
//! this thread's last failure. Read by rowcall_status() and rowcall_last_error(), which do no I/O.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a call answered 0 or NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Reason {
    /// Nobody is listening on the socket, or whoever was has gone.
    NoDaemon,
    /// The daemon is there but takes nothing.
    Stalled,
    /// The subject is NULL, empty, too long, or holds what a subject may not.
    BadSubject,
    /// A header's name or value is NULL or holds what it may not.
    BadHeader,
    /// The payload is NULL.
    NullPayload,
    /// The message is larger than the daemon takes, or the reply larger than is kept.
    TooLarge,
    /// Nobody subscribes to the subject of a request.
    NoResponders,
    /// No reply came in time.
    Timeout,
    /// The statement was killed, or its time was over.
    Killed,
    /// The worker answered that it could not do the work.
    Failed,
    /// The ticket is NULL or was never one.
    BadTicket,
    /// The reply for the ticket has not come.
    Pending,
    /// Someone has the reply for the ticket already.
    Taken,
    /// The daemon kept too many replies, and this was the oldest.
    EvictedCount,
    /// The daemon kept too many bytes of replies, and this was the oldest.
    EvictedBytes,
    /// The reply was not collected in time.
    EvictedTime,
    /// The daemon knows nothing of the ticket.
    UnknownTicket,
    /// The ticket is of an earlier run of the daemon.
    OtherDaemon,
    /// SQL may not publish or listen to this: the daemon's administrator has said so.
    Forbidden,
    /// The daemon refused the operation.
    Refused,
    /// Who listens on the socket does not speak the protocol.
    BadPeer,
    /// The tables of committed mode are not there, or may not be written.
    NoOutbox,
    /// The server is out of memory.
    NoMemory,
    /// A fault in this library, caught.
    Panic,
}

/// Every reason, in the order of the counters, with its name for SQL.
const REASONS: [(Reason, &str); 24] = [
    (Reason::NoDaemon, "no_daemon"),
    (Reason::Stalled, "stalled"),
    (Reason::BadSubject, "bad_subject"),
    (Reason::BadHeader, "bad_header"),
    (Reason::NullPayload, "null_payload"),
    (Reason::TooLarge, "too_large"),
    (Reason::NoResponders, "no_responders"),
    (Reason::Timeout, "timeout"),
    (Reason::Killed, "killed"),
    (Reason::Failed, "failed"),
    (Reason::BadTicket, "bad_ticket"),
    (Reason::Pending, "pending"),
    (Reason::Taken, "taken"),
    (Reason::EvictedCount, "evicted_count"),
    (Reason::EvictedBytes, "evicted_bytes"),
    (Reason::EvictedTime, "evicted_time"),
    (Reason::UnknownTicket, "unknown_ticket"),
    (Reason::OtherDaemon, "other_daemon"),
    (Reason::Forbidden, "forbidden"),
    (Reason::Refused, "refused"),
    (Reason::BadPeer, "bad_peer"),
    (Reason::NoOutbox, "no_outbox"),
    (Reason::NoMemory, "no_memory"),
    (Reason::Panic, "panic"),
];

impl Reason {
    /// What rowcall_last_error() and rowcall_status() call it.
    pub(crate) fn name(self) -> &'static str {
        REASONS[self as usize].1
    }

    /// The one of this name.
    pub(crate) fn named(name: &[u8]) -> Option<Reason> {
        REASONS.iter().find(|(_, known)| known.as_bytes() == name).map(|&(reason, _)| reason)
    }
}

/// Messages handed to the kernel whole: calls of rowcall_notify and rowcall_emit that answered 1, of
/// rowcall_submit that answered a ticket.
pub(crate) static SENT: AtomicU64 = AtomicU64::new(0);
/// Those of them that were sent before the daemon had greeted the connection, which then ended without a
/// greeting: nobody knows whether they were read.
pub(crate) static UNCONFIRMED: AtomicU64 = AtomicU64::new(0);
/// Payloads of what was sent, in bytes.
pub(crate) static SENT_BYTES: AtomicU64 = AtomicU64::new(0);
/// Calls that wait for something: of rowcall_request, rowcall_result and rowcall_wait.
pub(crate) static REQUESTS: AtomicU64 = AtomicU64::new(0);
/// Those that got it.
pub(crate) static REPLIES: AtomicU64 = AtomicU64::new(0);
/// Connections made to the daemon.
pub(crate) static CONNECTS: AtomicU64 = AtomicU64::new(0);
/// Connections lost again. The difference is how many there are: one for each thread that called.
pub(crate) static DISCONNECTS: AtomicU64 = AtomicU64::new(0);
/// The errno of the latest attempt to connect that failed; 0 once one succeeds.
pub(crate) static CONNECT_ERRNO: AtomicU64 = AtomicU64::new(0);

static EVENTS_DROPPED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];
static REQUESTS_FAILED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

thread_local! {
    static LAST: Cell<Option<Reason>> = const { Cell::new(None) };
}

/// Counts a relaxed one. Counters are statistics: nothing is ordered by them.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// A message was not sent.
pub(crate) fn drop_one(reason: Reason) {
    count(&EVENTS_DROPPED[reason as usize]);
    LAST.set(Some(reason));
}

/// What was waited for did not come.
pub(crate) fn fail_one(reason: Reason) {
    count(&REQUESTS_FAILED[reason as usize]);
    LAST.set(Some(reason));
}

/// This thread's latest call succeeded.
pub(crate) fn clear_last() {
    LAST.set(None);
}

/// Why this thread's latest call failed, if it did.
pub(crate) fn last() -> Option<Reason> {
    LAST.get()
}

/// Events dropped for this reason.
#[cfg(test)]
pub(crate) fn dropped(reason: Reason) -> u64 {
    EVENTS_DROPPED[reason as usize].load(Relaxed)
}

/// The counters as members of a JSON object, without its braces; a reason that never occurred is
/// left out.
pub(crate) fn json_members() -> String {
    let number = |counter: &AtomicU64| counter.load(Relaxed);
    format!(
        "\"sent\":{},\"sent_bytes\":{},\"unconfirmed\":{},\"dropped\":{},\"dropped_by_reason\":{},\
         \"requests\":{},\"replies\":{},\"failed_by_reason\":{},\
         \"connects\":{},\"connections\":{},\"connect_errno\":{}",
        number(&SENT),
        number(&SENT_BYTES),
        number(&UNCONFIRMED),
        EVENTS_DROPPED.iter().map(number).sum::<u64>(),
        by_reason(&EVENTS_DROPPED),
        number(&REQUESTS),
        number(&REPLIES),
        by_reason(&REQUESTS_FAILED),
        number(&CONNECTS),
        number(&CONNECTS).saturating_sub(number(&DISCONNECTS)),
        number(&CONNECT_ERRNO),
    )
}

fn by_reason(counters: &[AtomicU64]) -> String {
    let members: Vec<String> = REASONS
        .iter()
        .zip(counters)
        .map(|((_, name), counter)| (name, counter.load(Relaxed)))
        .filter(|&(_, count)| count > 0)
        .map(|(name, count)| format!("\"{name}\":{count}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        for (n, (reason, _)) in REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, n);
        }
    }

    #[test]
    fn the_last_reason_is_the_thread_s_own() {
        clear_last();
        assert_eq!(last(), None);
        fail_one(Reason::Timeout);
        assert_eq!(last(), Some(Reason::Timeout));
        std::thread::spawn(|| assert_eq!(last(), None)).join().unwrap();
        clear_last();
        assert_eq!(last(), None);
    }

    #[test]
    fn members_name_only_what_occurred() {
        fail_one(Reason::NoResponders);
        let members = json_members();
        assert!(members.contains("\"no_responders\":"), "{members}");
        assert!(!members.contains("no_memory"), "{members}");
        assert!(members.starts_with("\"sent\":") && !members.contains('\n'));
    }
}

//! What a worker tells the daemon about events of a durable consumer: done, failed, still at it, given back.
//! How they are worked on stands in crew.rs.

use crate::client::{Publisher, Received};
use crate::failure::Failure;
use rowcall_wire::{Message, headers, subject};
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the reply subject of an event begins with, as in JetStream.
const PREFIX: &[u8] = b"$JS.ACK.";

/// The part of the ack wait after which the daemon is told that an event is in good hands: one word may be late,
/// and the next is still in time.
const PART: u32 = 3;

/// Events that were delivered to us and not answered. One that waits for a free job counts as well:
/// otherwise it would be delivered again while it waits.
#[derive(Default)]
pub(crate) struct Unsettled {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By reply subject.
    events: HashMap<Vec<u8>, Held>,
    ended: bool,
}

/// An event in our hands.
struct Held {
    /// The connection that it came on.
    publisher: Publisher,
    /// The interval of in-progress answers (`+WPI`).
    every: Duration,
    /// The time of the next one.
    next: Instant,
}

/// What has become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Done,
    /// It failed, and comes again: after so long, or after the consumer's pause.
    Again(Option<Duration>),
    /// It was not tried, for a reason that lies with us: it comes again at once, to others, and this counts as
    /// no delivery.
    Untried,
}

/// Whether the message asks to be acknowledged as an event. On a subject that anyone may publish to, that is
/// only what its sender says.
pub(crate) fn is_event(message: &Received) -> bool {
    message.reply.as_ref().is_some_and(|reply| reply.starts_with(PREFIX))
}

/// How often the daemon is to be told of an event that it is worked on.
fn interval(event: &Received) -> Duration {
    let told =
        headers::value(&event.headers, headers::ACK_WAIT).and_then(|text| std::str::from_utf8(text).ok());
    let told = told.and_then(|text| text.strip_suffix("ms")?.parse().ok()).map(Duration::from_millis);
    (told.unwrap_or(headers::ACK_WAIT_USUAL) / PART).max(Duration::from_millis(1))
}

impl Verdict {
    /// The answer that says it.
    fn word(self, reply: &[u8]) -> String {
        match self {
            Verdict::Done => "+ACK".into(),
            // JetStream's own knows nothing that counts as no delivery.
            Verdict::Untried if reply.starts_with(subject::ACK) => {
                "-NAK {\"delay\": 0, \"counted\": false}".into()
            }
            Verdict::Untried | Verdict::Again(None) => "-NAK".into(),
            Verdict::Again(Some(pause)) => format!("-NAK {{\"delay\": {}}}", pause.as_nanos()),
        }
    }
}

impl Unsettled {
    /// Remembers an event.
    pub(crate) fn add(&self, event: &Received, publisher: &Publisher) {
        let Some(reply) = &event.reply else { return };
        let (every, publisher) = (interval(event), publisher.clone());
        let next = Instant::now() + every;
        self.state().events.insert(reply.clone(), Held { publisher, every, next });
        self.changed.notify_all();
    }

    /// Answers an event.
    pub(crate) fn settle(
        &self,
        event: &Received,
        publisher: &Publisher,
        verdict: Verdict,
    ) -> Result<(), Failure> {
        let Some(reply) = &event.reply else { return Ok(()) };
        // First: what has been answered is not in progress.
        self.forget(reply, publisher);
        tell(publisher, reply, verdict.word(reply).as_bytes())
    }

    /// Gives up an event whose connection has ended. One that has come again since, perhaps with the same reply
    /// subject, stays.
    pub(crate) fn forget(&self, reply: &[u8], publisher: &Publisher) {
        let mut state = self.state();
        if state.events.get(reply).is_some_and(|held| held.publisher.is(publisher)) {
            state.events.remove(reply);
        }
    }

    /// Tells the daemon about each of them from time to time, until the end.
    pub(crate) fn keep_waiting(&self) {
        let mut state = self.state();
        while !state.ended {
            let next = state.events.values().map(|held| held.next).min();
            let wait =
                next.map_or(headers::ACK_WAIT_USUAL, |next| next.saturating_duration_since(Instant::now()));
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            state.tell_those_due(Instant::now());
        }
    }

    /// Nothing is left to be told.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// With those that are due those that soon will be: the fewer times in all.
    fn tell_those_due(&mut self, now: Instant) {
        for (reply, held) in &mut self.events {
            if held.next.saturating_duration_since(now) <= held.every / 4 {
                held.next = now + held.every;
                // A daemon that has gone delivers it again in any case.
                let _ = tell(&held.publisher, reply, b"+WPI");
            }
        }
    }
}

fn tell(publisher: &Publisher, reply: &[u8], word: &[u8]) -> Result<(), Failure> {
    publisher.publish(&Message { subject: reply, reply: None, body: word, header_len: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(block: &str) -> Received {
        Received {
            subject: b"a".to_vec(),
            reply: Some(b"$JS.ACK.rowcall.mail.1.1.1.0.0".to_vec()),
            headers: block.into(),
            payload: Vec::new(),
        }
    }

    #[test]
    fn a_third_of_the_ack_wait_is_waited() {
        let check = |block: &str, expected| {
            assert_eq!(interval(&event(block)), Duration::from_millis(expected), "{block}")
        };
        check("", 10_000);
        check("NATS/1.0\r\nRowcall-Ack-Wait: 4500ms\r\n\r\n", 1500);
        check("NATS/1.0\r\nRowcall-Ack-Wait: 1ms\r\n\r\n", 1);
        check("NATS/1.0\r\nRowcall-Ack-Wait: soon\r\n\r\n", 10_000);
    }

    #[test]
    fn what_was_not_tried_is_said_to_those_who_know_it() {
        assert_eq!(
            Verdict::Untried.word(b"$JS.ACK.rowcall.m.1.1.1.0.0"),
            "-NAK {\"delay\": 0, \"counted\": false}"
        );
        assert_eq!(Verdict::Untried.word(b"$JS.ACK.S.c.1.1.1.0.0"), "-NAK");
        assert_eq!(Verdict::Again(Some(Duration::from_millis(2))).word(b""), "-NAK {\"delay\": 2000000}");
    }
}

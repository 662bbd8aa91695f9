//! What a worker tells the daemon about events of a durable consumer: done, failed, still at it. How
//! they are worked on stands in reply.rs.

use crate::client::{Publisher, Received};
use crate::failure::Failure;
use rowcall_wire::Message;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the reply subject of an event begins with, as in JetStream.
const PREFIX: &[u8] = b"$JS.ACK.";

/// How often the daemon is told that an event is in good hands.
const PROGRESS: Duration = Duration::from_secs(10);

/// Events that were delivered to us and not answered. One that waits for a free job counts as well:
/// otherwise it would be delivered again while it waits.
#[derive(Default)]
pub(crate) struct Unsettled {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// By reply subject, with the connection that they came on.
    events: HashMap<Vec<u8>, Publisher>,
    ended: bool,
}

/// What has become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Done,
    /// It failed, and comes again: after so long, or after the consumer's pause.
    Again(Option<Duration>),
}

/// Whether the message is an event that waits for an acknowledgement, and no request.
pub(crate) fn is_event(message: &Received) -> bool {
    message.reply.as_ref().is_some_and(|reply| reply.starts_with(PREFIX))
}

/// Says that an event is done.
pub(crate) fn acknowledge(event: &Received, publisher: &Publisher) -> Result<(), Failure> {
    event.reply.as_ref().map_or(Ok(()), |reply| tell(publisher, reply, b"+ACK"))
}

impl Unsettled {
    /// Remembers an event; a request is none.
    pub(crate) fn add(&self, message: &Received, publisher: &Publisher) {
        let Some(reply) = message.reply.as_ref().filter(|_| is_event(message)) else { return };
        self.state().events.insert(reply.clone(), publisher.clone());
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
        self.state().events.remove(reply);
        match verdict {
            Verdict::Done => tell(publisher, reply, b"+ACK"),
            Verdict::Again(None) => tell(publisher, reply, b"-NAK"),
            Verdict::Again(Some(pause)) => {
                tell(publisher, reply, format!("-NAK {{\"delay\": {}}}", pause.as_nanos()).as_bytes())
            }
        }
    }

    /// Tells the daemon about each of them from time to time, until the end.
    pub(crate) fn keep_waiting(&self) {
        let mut state = self.state();
        while !state.ended {
            let waited = self.ended.wait_timeout(state, PROGRESS).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() {
                for (reply, publisher) in &state.events {
                    // A daemon that has gone delivers it again in any case.
                    let _ = tell(publisher, reply, b"+WPI");
                }
            }
        }
    }

    /// Nothing is left to be told.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.ended.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(publisher: &Publisher, reply: &[u8], word: &[u8]) -> Result<(), Failure> {
    publisher.publish(&Message { subject: reply, reply: None, body: word, header_len: 0 })
}

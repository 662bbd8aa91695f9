//! Waiting for an event: a subscription of this thread's connection that ends with the wait.

use super::allowed::is_forbidden;
use super::{Connection, Fail, LINE_EXTRA, Link, Wait, greeting_wait};
use crate::counters::Reason;
use rowcall_wire::{CONTROL_LINE_MAX, Message, encode};
use std::time::{Duration, Instant};

/// The subscriptions' numbers begin behind it: it is the inbox's.
const SIDS_FROM: u64 = super::reply::INBOX_SID;

impl Link {
    /// Waits for the next event on the subject, whose payload goes into `payload`.
    pub(crate) fn listen(
        &mut self,
        filter: &[u8],
        timeout: Duration,
        payload: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let mut wait = Wait::until(Instant::now() + timeout);
        self.connected(|connection| {
            connection.greeted(greeting_wait(timeout))?;
            connection.begin_listening(filter)
        })?;
        let Some(connection) = &mut self.connection else { return Err(Reason::NoDaemon) };
        let sid = connection.sid().to_string();
        let result = connection
            .await_message(&mut wait, payload, |its, _| its == sid.as_bytes(), event)
            .map_err(|fail| connection.end_listening(fail));
        connection.give_back();
        self.closed_if_broken(result).map_err(Fail::reason)
    }
}

/// The payload of an event; or it is none, and says that it may not be listened to.
fn event<'a>(message: &Message<'a>) -> Result<&'a [u8], Reason> {
    if is_forbidden(message) { Err(Reason::Forbidden) } else { Ok(message.payload()) }
}

impl Connection {
    /// Subscribes, for one message: more than one can never lie unread in a connection that SQL may
    /// not read from for hours. Each time under another number, so that one that comes too late is
    /// not taken for a later one.
    fn begin_listening(&mut self, filter: &[u8]) -> Result<(), Fail> {
        if filter.len() + LINE_EXTRA > CONTROL_LINE_MAX {
            return Err(Fail::Call(Reason::BadSubject));
        }
        self.listening += 1;
        let sid = self.sid();
        encode::sub(&mut self.frame, filter, None, sid);
        encode::unsub(&mut self.frame, sid, Some(1));
        self.send()
    }

    /// Ends the subscription that nothing came for. If even that cannot be said now, its one message
    /// ends it.
    fn end_listening(&mut self, fail: Fail) -> Fail {
        let Fail::Call(reason) = fail else { return fail };
        self.frame.clear();
        let sid = self.sid();
        encode::unsub(&mut self.frame, sid, None);
        match self.send() {
            Ok(()) | Err(Fail::Call(_)) => Fail::Call(reason),
            Err(Fail::Broken(_)) => Fail::Broken(reason),
        }
    }

    fn sid(&self) -> u64 {
        SIDS_FROM + self.listening
    }
}

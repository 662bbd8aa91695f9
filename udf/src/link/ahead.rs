//! Events that need no greeting: while the daemon is restarted, a socket that systemd holds takes connections
//! which nobody greets yet. What is sent there waits in the kernel for the next daemon, so it is sent, by what
//! the latest greeting of this process said; and counted, should nobody come to greet.

use super::greeting::latest_terms;
use super::{Connection, Content, Fail, Link, STALL_WAIT};
use crate::bounded::Bounded;
use crate::counters::{Reason, UNCONFIRMED};
use std::sync::atomic::Ordering::Relaxed;

impl Link {
    /// Hands an event to the daemon, or to the kernel for the daemon that comes next.
    pub(crate) fn publish<'a>(
        &mut self,
        subject: &[u8],
        write: impl Fn(&mut Bounded) -> Result<Content<'a>, Reason>,
    ) -> Result<usize, Reason> {
        self.connected(|connection| {
            connection.greeted_or_ahead()?;
            let sent = connection.send_message(subject, None, &write)?;
            if !connection.is_greeted {
                connection.is_introduced = true;
                connection.ahead += 1;
            }
            Ok(sent)
        })
    }
}

impl Connection {
    /// Makes sure that an event may be sent. It waits to be greeted as everything does, and only then goes
    /// ahead: beside a daemon that is at work, nothing is sent by an old greeting. A process that was never
    /// greeted does not know whether there is a daemon at all, and sends nothing ahead.
    fn greeted_or_ahead(&mut self) -> Result<(), Fail> {
        let result = self.greeted(STALL_WAIT);
        if !matches!(result, Err(Fail::Call(Reason::Stalled))) {
            return result;
        }
        if self.terms.is_none() {
            self.terms = latest_terms();
        }
        if self.terms.is_none() {
            return result;
        }
        if !self.is_introduced {
            self.put_introduction();
        }
        Ok(())
    }

    /// How many events went ahead of a greeting that has not come, or that took nobody in: perhaps a daemon
    /// has read them, perhaps it has not. Asked when the connection ends.
    pub(super) fn count_unconfirmed(&mut self) {
        if self.ahead > 0 && !self.was_greeted_since() {
            UNCONFIRMED.fetch_add(self.ahead, Relaxed);
        }
    }

    /// Whether the greeting lies there, unread since the last call.
    fn was_greeted_since(&mut self) -> bool {
        !self.is_greeted
            && self.received().is_ok()
            && matches!(self.take_greeting(), Ok(true))
            && self.taken_in()
    }
}

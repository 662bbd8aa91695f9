//! Replies that are collected later: a request that the daemon keeps the reply of, and the question
//! for it. The daemon's side is daemon/src/mail.rs.

use super::reply::answer;
use super::{Link, STALL_WAIT, plain};
use crate::counters::Reason;
use crate::random::secret;
use rowcall_wire::{Message, headers, subject};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long the daemon's answer may be on its way, beyond the time that it waits itself.
const ANSWER_WAIT: Duration = Duration::from_millis(250);

/// Tickets made in this process.
static TICKETS: AtomicU64 = AtomicU64::new(0);

impl Link {
    /// Hands a request to the daemon, which keeps the reply for this ticket.
    pub(crate) fn submit(
        &mut self,
        subject: &[u8],
        payload: &[u8],
        ticket: &mut String,
    ) -> Result<usize, Reason> {
        let number = TICKETS.fetch_add(1, Relaxed);
        let (sent, made) = self.connected(|connection| {
            connection.greeted(STALL_WAIT)?;
            let ticket = ticket_text(&connection.server_id, number, secret());
            let inbox = [subject::MAIL, ticket.as_bytes()].concat();
            let sent = connection.send_message(subject, Some(&inbox), &|_| Ok(plain(payload)))?;
            Ok((sent, ticket))
        })?;
        *ticket = made;
        Ok(sent)
    }

    /// Asks the daemon for the reply for a ticket, which waits for it so long.
    pub(crate) fn collect(
        &mut self,
        ticket: &[u8],
        timeout: Duration,
        reply: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let question = [format!("{} ", timeout.as_millis()).as_bytes(), ticket].concat();
        let result = self.ask(subject::RESULT, &question, timeout + ANSWER_WAIT, collected, reply);
        match result {
            // Only now may the daemon forget it. If it is not told, the reply stays until it is evicted.
            Ok(()) | Err(Reason::NoResponders | Reason::Failed) => {
                let _ = self.tell(subject::TAKEN, ticket);
            }
            // The daemon still waits for the reply, and would send it here, where perhaps nobody reads
            // any more: one that fills the socket would look like a subscriber who is too slow.
            Err(Reason::Killed) => self.close(),
            Err(_) => {}
        }
        result
    }
}

/// `run.number.secret`: the run of the daemon that keeps it, and what nobody else has or guesses.
fn ticket_text(server_id: &str, number: u64, secret: u64) -> String {
    format!("{server_id}.{number}.{secret:016x}")
}

/// The reply, or why there is none.
fn collected<'a>(message: &Message<'a>) -> Result<&'a [u8], Reason> {
    match headers::value(message.headers(), headers::NO_REPLY) {
        Some(why) if message.payload().is_empty() => Err(Reason::named(why).unwrap_or(Reason::BadPeer)),
        _ => answer(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_there_is_no_reply() {
        let reply = |block: &'static str, payload: &str| {
            let body: &'static str = format!("{block}{payload}").leak();
            collected(&Message { header_len: block.len(), ..Message::plain(b"i", body.as_bytes()) })
        };
        assert_eq!(reply("", "yes"), Ok(&b"yes"[..]));
        assert_eq!(reply("NATS/1.0\r\nRowcall-No-Reply: taken\r\n\r\n", ""), Err(Reason::Taken));
        assert_eq!(reply("NATS/1.0\r\nRowcall-No-Reply: taken\r\n\r\n", "yes"), Ok(&b"yes"[..]));
        assert_eq!(reply("NATS/1.0\r\nRowcall-No-Reply: what\r\n\r\n", ""), Err(Reason::BadPeer));
        assert_eq!(reply("NATS/1.0 503\r\n\r\n", ""), Err(Reason::NoResponders));
    }
}

//! Requests and what comes back: the inbox that replies go to, and waiting for the one that is meant.

use super::allowed::{is_forbidden, rule};
use super::{Connection, Fail, LIMITS, Link, Wait, greeting_wait, plain, reserve};
use crate::counters::Reason;
use crate::socket::For;
use rowcall_wire::parse::{self, ServerOp, Step};
use rowcall_wire::{Message, encode, headers};
use std::time::{Duration, Instant};

/// The sid of the inbox: the only subscription that a connection keeps.
pub(super) const INBOX_SID: u64 = 1;

/// How often one looks for the reply before one sleeps, giving way to others in between: 25
/// microseconds on an idle processor. A worker that is at hand answers in that time, and whoever
/// writes to a sleeper pays for waking it, ten times what writing costs.
const LOOKS_MAX: u32 = 60;

impl Link {
    /// Hands a request to the daemon and waits for the reply, which goes into `reply`.
    pub(crate) fn request(
        &mut self,
        subject: &[u8],
        payload: &[u8],
        timeout: Duration,
        reply: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        self.ask(subject, payload, timeout, answer, reply)
    }

    /// The same; the caller says what of the reply goes into `reply`.
    pub(super) fn ask(
        &mut self,
        subject: &[u8],
        payload: &[u8],
        timeout: Duration,
        take: Take,
        reply: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let mut wait = Wait::until(Instant::now() + timeout);
        self.connected(|connection| {
            connection.greeted(greeting_wait(timeout))?;
            connection.request += 1;
            connection.put_subscription();
            let inbox = connection.inbox_subject();
            connection.send_message(subject, Some(inbox.as_bytes()), &|_| Ok(plain(payload)))?;
            connection.subscribed = true;
            Ok(())
        })?;
        let Some(connection) = &mut self.connection else { return Err(Reason::NoDaemon) };
        let inbox = connection.inbox_subject();
        let is_reply = |_: &[u8], message: &Message<'_>| message.subject == inbox.as_bytes();
        let result = connection.await_message(&mut wait, reply, is_reply, take);
        connection.give_back();
        self.closed_if_broken(result).map_err(Fail::reason)
    }
}

impl Connection {
    /// Puts the subscription to all replies into the frame, before the first request.
    pub(super) fn put_subscription(&mut self) {
        if !self.subscribed {
            encode::sub(&mut self.frame, format!("{}*", self.inbox).as_bytes(), None, INBOX_SID);
        }
    }

    pub(super) fn inbox_subject(&self) -> String {
        format!("{}{}", self.inbox, self.request)
    }

    /// Waits for the message that is meant. What is taken of it goes into `out`.
    pub(super) fn await_message(
        &mut self,
        wait: &mut Wait,
        out: &mut Vec<u8>,
        is_meant: impl Fn(&[u8], &Message<'_>) -> bool,
        take: Take,
    ) -> Result<(), Fail> {
        let over = |reason| Fail::Call(if reason == Reason::Stalled { Reason::Timeout } else { reason });
        let mut late = false;
        loop {
            while let Some(next) = self.next_message(out, &is_meant, take)? {
                match next {
                    Next::Meant => return Ok(()),
                    Next::Other(used) => drop(self.input.drain(..used)),
                }
            }
            // What comes may be of others, and never end; what has come by the end of the time counts.
            match wait.check() {
                Err(Reason::Stalled) if !late => late = true,
                going_on => going_on.map_err(over)?,
            }
            if self.linger()? > 0 {
                continue;
            }
            wait.slice(&self.socket, For::Input).map_err(over)?;
            self.received()?;
        }
    }

    /// Looks for a moment whether something comes, without sleeping; tells how much has.
    fn linger(&mut self) -> Result<usize, Fail> {
        for _ in 0..LOOKS_MAX {
            match self.received()? {
                0 => std::thread::yield_now(),
                got => return Ok(got),
            }
        }
        Ok(0)
    }

    /// Looks at the next operation that has come, if it has come whole.
    fn next_message(
        &mut self,
        out: &mut Vec<u8>,
        is_meant: impl Fn(&[u8], &Message<'_>) -> bool,
        take: Take,
    ) -> Result<Option<Next>, Fail> {
        let (message, used) = match parse::server_op(&self.input, &LIMITS) {
            Ok(Step::More(_)) => return Ok(None),
            Ok(Step::Op(ServerOp::Msg { sid, message }, used)) if is_meant(sid, &message) => (message, used),
            Ok(Step::Op(ServerOp::Err(_), _)) => return Err(Fail::Broken(Reason::Refused)),
            Ok(Step::Op(ServerOp::Info(json), used)) => {
                let rule = rule(json);
                self.take_rule(rule);
                return Ok(Some(Next::Other(used)));
            }
            // What an earlier call waited for, and came too late; or nothing that concerns us.
            Ok(Step::Op(_, used)) => return Ok(Some(Next::Other(used))),
            Err(_) => return Err(Fail::Broken(Reason::BadPeer)),
        };
        let taken = take(&message).and_then(|bytes| {
            out.clear();
            reserve(out, bytes.len())?;
            out.extend_from_slice(bytes);
            Ok(())
        });
        self.input.drain(..used);
        taken.map(|_| Some(Next::Meant)).map_err(Fail::Call)
    }
}

/// What of a message is wanted, or why it is not what was hoped for.
pub(super) type Take = for<'a> fn(&Message<'a>) -> Result<&'a [u8], Reason>;

enum Next {
    Meant,
    Other(usize),
}

/// The payload of a reply, or why it is none.
pub(super) fn answer<'a>(message: &Message<'a>) -> Result<&'a [u8], Reason> {
    let block = message.headers();
    if headers::status(block) == Some(headers::STATUS_NO_RESPONDERS) && message.payload().is_empty() {
        return Err(Reason::NoResponders);
    }
    if is_forbidden(message) {
        return Err(Reason::Forbidden);
    }
    if headers::value(block, headers::SERVICE_ERROR_CODE).is_some() {
        return Err(Reason::Failed);
    }
    Ok(message.payload())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_are_none() {
        let reply = |block: &'static [u8], payload: &[u8]| {
            let body: &'static [u8] = [block, payload].concat().leak();
            answer(&Message { header_len: block.len(), ..Message::plain(b"i", body) })
        };
        assert_eq!(reply(b"", b"yes"), Ok(&b"yes"[..]));
        assert_eq!(reply(b"", b""), Ok(&b""[..]));
        assert_eq!(reply(headers::NO_RESPONDERS, b""), Err(Reason::NoResponders));
        assert_eq!(reply(b"NATS/1.0\r\nNats-Service-Error-Code: 1\r\n\r\n", b"x"), Err(Reason::Failed));
        assert_eq!(reply(b"NATS/1.0\r\nA: b\r\n\r\n", b"x"), Ok(&b"x"[..]));
    }
}

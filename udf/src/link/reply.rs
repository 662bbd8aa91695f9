//! What comes back to a request: the inbox that replies go to, and the one that is waited for.

use super::{Connection, Fail, LIMITS, Wait, copy};
use crate::counters::Reason;
use crate::socket::For;
use rowcall_wire::parse::{self, ServerOp, Step};
use rowcall_wire::{Message, encode, headers};

/// The sid of the inbox: the only subscription a connection has.
const INBOX_SID: u64 = 1;

/// How often one looks for the reply before one sleeps, giving way to others in between: 25
/// microseconds on an idle processor. A worker that is at hand answers in that time, and whoever
/// writes to a sleeper pays for waking it, ten times what writing costs.
const LOOKS_MAX: u32 = 60;

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

    /// Waits for the reply to the latest request.
    pub(super) fn await_reply(&mut self, wait: &mut Wait, reply: &mut Vec<u8>) -> Result<(), Fail> {
        let inbox = self.inbox_subject();
        loop {
            while let Some(used) = self.next_reply(inbox.as_bytes(), reply)? {
                match used {
                    Taken::Reply => return Ok(()),
                    Taken::Other(used) => drop(self.input.drain(..used)),
                }
            }
            if self.linger()? > 0 {
                continue;
            }
            wait.slice(&self.socket, For::Input).map_err(|reason| {
                Fail::Call(if reason == Reason::Stalled { Reason::Timeout } else { reason })
            })?;
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
    fn next_reply(&mut self, inbox: &[u8], reply: &mut Vec<u8>) -> Result<Option<Taken>, Fail> {
        let (message, used) = match parse::server_op(&self.input, &LIMITS) {
            Ok(Step::More(_)) => return Ok(None),
            Ok(Step::Op(ServerOp::Msg { message, .. }, used)) if message.subject == inbox => (message, used),
            Ok(Step::Op(ServerOp::Err(_), _)) => return Err(Fail::Broken(Reason::Refused)),
            // A reply to an earlier request, which came too late; or nothing that concerns us.
            Ok(Step::Op(_, used)) => return Ok(Some(Taken::Other(used))),
            Err(_) => return Err(Fail::Broken(Reason::BadPeer)),
        };
        let answer = answer(&message).and_then(|payload| {
            reply.clear();
            copy(reply, payload)
        });
        self.input.drain(..used);
        answer.map(|_| Some(Taken::Reply)).map_err(Fail::Call)
    }
}

enum Taken {
    Reply,
    Other(usize),
}

/// The payload of a reply, or why it is none.
fn answer<'a>(message: &Message<'a>) -> Result<&'a [u8], Reason> {
    let block = message.headers();
    if headers::status(block) == Some(headers::STATUS_NO_RESPONDERS) && message.payload().is_empty() {
        return Err(Reason::NoResponders);
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

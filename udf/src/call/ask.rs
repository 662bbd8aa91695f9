//! The functions that ask for something and wait for it: a reply now, a reply later, an event.

use super::{subject, was_sent};
use crate::abi::{Args, Function, Kind, TextFunction};
use crate::counters::{self, REPLIES, REQUESTS, Reason};
use crate::{integers, link};
use rowcall_wire::subject as subjects;
use std::time::Duration;

/// How long rowcall_request and rowcall_wait wait unless they are told. A trigger that waits holds its
/// row's locks; if the worker needs one of them, this is what ends the deadlock.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(250);

/// The longest that any of them waits, in milliseconds, whatever it is told.
const TIMEOUT_MAX: u64 = 60_000;

/// The longest ticket: far longer than any that was ever given.
const TICKET_MAX: usize = 255;

/// `rowcall_request(subject, payload [, timeout_ms])`
pub(crate) struct Request {
    timeout: Timeout,
    reply: Vec<u8>,
}

/// `rowcall_submit(subject, payload)`
pub(crate) struct Submit {
    ticket: String,
}

/// `rowcall_result(ticket [, timeout_ms])`
pub(crate) struct Collect {
    timeout: Timeout,
    reply: Vec<u8>,
}

/// `rowcall_wait(subject [, timeout_ms])`
pub(crate) struct Listen {
    timeout: Timeout,
    payload: Vec<u8>,
}

impl Function for Request {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        let timeout = Timeout::behind(args, 2, "rowcall_request(subject, payload [, timeout_ms])")?;
        Ok(Request { timeout, reply: Vec::new() })
    }
}

impl TextFunction for Request {
    fn call(&mut self, args: &Args<'_>) -> Option<&[u8]> {
        let reply = &mut self.reply;
        let got = awaited(|| {
            let (subject, timeout) = (subject(args)?, self.timeout.of(args).unwrap_or(TIMEOUT_DEFAULT));
            let payload = args.bytes(1).ok_or(Reason::NullPayload)?;
            link::with(|link| link.request(subject, payload, timeout, reply))
        });
        got.then_some(&self.reply)
    }
}

impl Function for Submit {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        if args.len() != 2 {
            return Err("rowcall_submit(subject, payload)");
        }
        super::all_as_text(args);
        Ok(Submit { ticket: String::new() })
    }
}

impl TextFunction for Submit {
    fn call(&mut self, args: &Args<'_>) -> Option<&[u8]> {
        let ticket = &mut self.ticket;
        let sent = was_sent(|| {
            let subject = subject(args)?;
            let payload = args.bytes(1).ok_or(Reason::NullPayload)?;
            link::with(|link| link.submit(subject, payload, ticket))
        });
        sent.then_some(self.ticket.as_bytes())
    }
}

impl Function for Collect {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        let timeout = Timeout::behind(args, 1, "rowcall_result(ticket [, timeout_ms])")?;
        Ok(Collect { timeout, reply: Vec::new() })
    }
}

impl TextFunction for Collect {
    fn call(&mut self, args: &Args<'_>) -> Option<&[u8]> {
        let reply = &mut self.reply;
        let got = awaited(|| {
            let ticket = args.bytes(0).filter(|ticket| is_ticket(ticket)).ok_or(Reason::BadTicket)?;
            let timeout = self.timeout.of(args).unwrap_or_default();
            link::with(|link| link.collect(ticket, timeout, reply))
        });
        got.then_some(&self.reply)
    }
}

impl Function for Listen {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        let timeout = Timeout::behind(args, 1, "rowcall_wait(subject [, timeout_ms])")?;
        Ok(Listen { timeout, payload: Vec::new() })
    }
}

impl TextFunction for Listen {
    fn call(&mut self, args: &Args<'_>) -> Option<&[u8]> {
        let payload = &mut self.payload;
        let got = awaited(|| {
            let filter = args.bytes(0).filter(|filter| subjects::valid_filter(filter));
            let filter = filter.ok_or(Reason::BadSubject)?;
            let timeout = self.timeout.of(args).unwrap_or(TIMEOUT_DEFAULT);
            link::with(|link| link.listen(filter, timeout, payload))
        });
        got.then_some(&self.payload)
    }
}

/// Waits for something, and counts whether it came.
fn awaited(wait: impl FnOnce() -> Result<(), Reason>) -> bool {
    counters::count(&REQUESTS);
    let result = wait();
    match result {
        Ok(()) => {
            counters::count(&REPLIES);
            counters::clear_last();
        }
        Err(reason) => counters::fail_one(reason),
    }
    result.is_ok()
}

/// Where the timeout stands among the arguments, and how it comes.
struct Timeout {
    at: usize,
    /// For what the server calls an integer, its value if it was known when the statement began.
    integer: Option<Option<i64>>,
}

impl Timeout {
    /// The one that may follow so many other arguments. All are passed as text, the timeout as well:
    /// were the server asked for an integer, it would fail statements in strict mode over any text that
    /// is none.
    fn behind(args: &mut Args<'_>, texts: usize, usage: &'static str) -> Result<Timeout, &'static str> {
        if !(texts..=texts + 1).contains(&args.len()) {
            return Err(usage);
        }
        let is_integer = args.len() > texts && args.kind(texts) == Kind::Int;
        let integer = is_integer.then(|| args.integer(texts));
        super::all_as_text(args);
        Ok(Timeout { at: texts, integer })
    }

    /// Its value in a call, within what is possible; `None` if there is none, if it is NULL, or no number.
    fn of(&self, args: &Args<'_>) -> Option<Duration> {
        let text = if args.len() > self.at { args.bytes(self.at) } else { None }?;
        let millis = match self.integer.and_then(|seen| integers::raw(text, seen)) {
            Some(raw) => raw,
            None => integers::nearest(text)?.max(0) as u64,
        };
        Some(Duration::from_millis(millis.min(TIMEOUT_MAX)))
    }
}

/// Whether it looks like a ticket: three tokens of letters and digits.
fn is_ticket(text: &[u8]) -> bool {
    let fine = |token: &[u8]| !token.is_empty() && token.iter().all(u8::is_ascii_alphanumeric);
    text.len() <= TICKET_MAX && subjects::tokens(text).count() == 3 && subjects::tokens(text).all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_ticket() {
        assert!(is_ticket(b"SERVER1.17.00ff"));
        for wrong in ["", "a.b", "a..b", "a.b.c.d", "a.b.c ", "a.b.*", "a.b.c\n", "grün.1.2"] {
            assert!(!is_ticket(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!is_ticket(format!("a.b.{}", "c".repeat(252)).as_bytes()));
    }
}

//! What a worker answers to: the reply subject of a delivery, and the words of the answer. Both are
//! those of JetStream, so that its clients' `ack()`, `nak()`, `in_progress()` and `term()` work as they
//! are. Text only; what an answer leads to stands in outbox/workers.rs.

use super::event::Event;
use rowcall_wire::{headers, subject};
use serde::Deserialize;
use std::time::Duration;

/// The header of every delivery of an event but the first: which one it is.
pub(crate) const DELIVERIES: &str = "Rowcall-Deliveries";

/// Which delivery of which event is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Receipt<'a> {
    pub(crate) consumer: &'a str,
    pub(crate) deliveries: u32,
    pub(crate) position: u64,
    pub(crate) id: u64,
    pub(crate) stamp: i64,
}

/// What the worker says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Ack,
    /// It could not be done now; perhaps with a time to wait. If it was not tried, for a reason that lies with
    /// the worker, it is not counted.
    Nak { delay: Option<Duration>, counted: bool },
    /// It is being done.
    Progress,
    /// It can never be done.
    Term,
    /// Something that nobody here knows.
    Unknown,
}

/// The subject that the workers of a consumer subscribe to.
pub(crate) fn delivery_subject(consumer: &str) -> String {
    format!("{}{consumer}", subject::CONSUMER)
}

/// The consumer whose workers subscribe to this, if it is one's.
pub(crate) fn consumer_of(filter: &[u8]) -> Option<&str> {
    std::str::from_utf8(filter.strip_prefix(subject::CONSUMER.as_bytes())?).ok()
}

/// The subject of the answer to a delivery, as JetStream's clients take it apart: stream, consumer,
/// deliveries, two sequence numbers, nanoseconds since 1970, and how many more there are.
pub(crate) fn reply_subject(
    consumer: &str,
    deliveries: u32,
    event: &Event,
    position: u64,
    more: usize,
) -> String {
    let prefix = String::from_utf8_lossy(subject::ACK);
    let nanoseconds = event.stamp.saturating_mul(1000);
    format!("{prefix}{consumer}.{deliveries}.{}.{position}.{nanoseconds}.{more}", event.id)
}

/// The body of a delivery that needs headers of its own, and their length: which one it is, if it is not the
/// first, and the time to answer it, if that is shorter than workers expect. Most are the event as it is.
pub(crate) fn delivery(event: &Event, deliveries: u32, ack_wait: Duration) -> Option<(Vec<u8>, usize)> {
    /// The empty line that ends the headers.
    const END: usize = 2;
    let mut lines = String::new();
    if deliveries > 1 {
        lines.push_str(&format!("{DELIVERIES}: {deliveries}\r\n"));
    }
    if ack_wait < headers::ACK_WAIT_USUAL {
        lines.push_str(&format!("{}: {}ms\r\n", headers::ACK_WAIT, ack_wait.as_millis()));
    }
    let at = event.header_len.checked_sub(END).filter(|_| !lines.is_empty())?;
    let body = [&event.body[..at], lines.as_bytes(), &event.body[at..]].concat();
    Some((body, event.header_len + lines.len()))
}

impl Receipt<'_> {
    /// Whether an answer goes to that subject, and to what it is one.
    pub(crate) fn parse(subject: &[u8]) -> Option<Receipt<'_>> {
        let mut tokens = subject::tokens(subject.strip_prefix(subject::ACK)?).map(std::str::from_utf8);
        let mut next = || tokens.next()?.ok();
        let (consumer, deliveries) = (next()?, next()?.parse().ok()?);
        let (id, position, nanoseconds) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?);
        Some(Receipt { consumer, deliveries, position, id, stamp: nanoseconds.parse::<i64>().ok()? / 1000 })
    }
}

impl Answer {
    /// What was said. Nothing at all is the shortest way to say that it is done.
    pub(crate) fn parse(payload: &[u8]) -> Answer {
        match payload {
            // `+OK` is what it once was; `+NXT` also asks for the next one, which comes anyway.
            b"" | b"+ACK" | b"+OK" | b"+NXT" => Answer::Ack,
            b"+WPI" => Answer::Progress,
            b"+TERM" => Answer::Term,
            _ if payload.starts_with(b"+TERM ") => Answer::Term,
            _ => payload.strip_prefix(b"-NAK").map_or(Answer::Unknown, Answer::nak),
        }
    }

    /// What a `-NAK` may say behind it: the time to wait, in nanoseconds, and, which is not JetStream's, that it
    /// is not to be counted.
    fn nak(json: &[u8]) -> Answer {
        #[derive(Deserialize)]
        struct Wish {
            delay: Option<u64>,
            counted: Option<bool>,
        }
        let wish = serde_json::from_slice(json).unwrap_or(Wish { delay: None, counted: None });
        Answer::Nak { delay: wish.delay.map(Duration::from_nanos), counted: wish.counted.unwrap_or(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_back() {
        let event = Event {
            id: 7,
            subject: Vec::new(),
            body: Vec::new(),
            header_len: 0,
            key: None,
            stamp: 42,
            consumers: Vec::new(),
        };
        let subject = reply_subject("orders", 2, &event, 9, 5);
        assert_eq!(subject, "$JS.ACK.rowcall.orders.2.7.9.42000.5");
        let receipt = Receipt { consumer: "orders", deliveries: 2, position: 9, id: 7, stamp: 42 };
        assert_eq!(Receipt::parse(subject.as_bytes()), Some(receipt));
        for other in
            ["$JS.ACK.other.orders.2.7.9.42000.5", "$JS.ACK.rowcall.orders.2.x.9.42000.5", "$JS.ACK.rowcall."]
        {
            assert_eq!(Receipt::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_delivery_says_what_its_worker_does_not_expect() {
        let event = Event {
            id: 7,
            subject: Vec::new(),
            body: b"NATS/1.0\r\nA: b\r\n\r\nhello".to_vec(),
            header_len: 18,
            key: None,
            stamp: 42,
            consumers: Vec::new(),
        };
        let block = |deliveries, ms| {
            let (body, length) = delivery(&event, deliveries, Duration::from_millis(ms))?;
            assert_eq!(&body[length..], b"hello");
            Some(String::from_utf8(body[..length].to_vec()).unwrap())
        };
        assert_eq!((block(1, 30_000), block(1, 60_000)), (None, None));
        assert_eq!(block(2, 30_000).unwrap(), "NATS/1.0\r\nA: b\r\nRowcall-Deliveries: 2\r\n\r\n");
        assert_eq!(block(1, 4_500).unwrap(), "NATS/1.0\r\nA: b\r\nRowcall-Ack-Wait: 4500ms\r\n\r\n");
        let both = "NATS/1.0\r\nA: b\r\nRowcall-Deliveries: 3\r\nRowcall-Ack-Wait: 100ms\r\n\r\n";
        assert_eq!(block(3, 100).unwrap(), both);
    }

    #[test]
    fn the_words_are_those_of_jetstream() {
        let check =
            |payload: &str, answer| assert_eq!(Answer::parse(payload.as_bytes()), answer, "{payload}");
        check("", Answer::Ack);
        check("+ACK", Answer::Ack);
        check("+NXT", Answer::Ack);
        check("+WPI", Answer::Progress);
        check("+TERM", Answer::Term);
        check("+TERM because", Answer::Term);
        let nak = |delay, counted| Answer::Nak { delay, counted };
        check("-NAK", nak(None, true));
        check("-NAK {\"delay\": 5000000000}", nak(Some(Duration::from_secs(5)), true));
        check("-NAK {\"delay\": \"soon\"}", nak(None, true));
        check("-NAK {\"delay\": 0, \"counted\": false}", nak(Some(Duration::ZERO), false));
        check("-NAK {\"counted\": false, \"else\": 1}", nak(None, false));
        check("done", Answer::Unknown);
    }

    #[test]
    fn workers_are_known_by_their_subject() {
        assert_eq!(consumer_of(delivery_subject("orders").as_bytes()), Some("orders"));
        assert_eq!(consumer_of(b"shop.orders"), None);
    }
}

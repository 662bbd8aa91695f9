//! A row of the outbox as a message: its headers, and why it cannot be published if it cannot. No
//! connection lives here.

use super::receipt::DELIVERIES;
use crate::auth::enforce::FORBIDDEN;
use rowcall_wire::{headers, subject};

/// The header that holds the row's id. It comes again after TRUNCATE, and from other servers.
pub(crate) const ID: &str = "Rowcall-Id";
/// The header that holds the event's unique id, `SITE/ID.MICROSECONDS`, which comes again with a true
/// repetition only. It is the name by which a JetStream drops those.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header that holds the server's time when the row was written, in UTC.
pub(crate) const TIME: &str = "Rowcall-Time";

/// The header that names what an event is about: those of one key reach a consumer in their order.
pub(crate) const KEY: &str = "Rowcall-Key";

/// A message that may be handed on, with bytes of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The row's id.
    pub(crate) id: u64,
    /// The subject to publish on.
    pub(crate) subject: Vec<u8>,
    /// Header block and payload.
    pub(crate) body: Vec<u8>,
    /// How much of it is the header block.
    pub(crate) header_len: usize,
    /// The value of its `Rowcall-Key`, if it has one.
    pub(crate) key: Option<Box<[u8]>>,
    /// When it was written, in microseconds since 1970. With the id it tells this event from another
    /// one that was given the same id: after TRUNCATE, after a crash, on a restored server.
    pub(crate) stamp: i64,
    /// The consumers that it waits for, each with its position there.
    pub(crate) consumers: Vec<(u32, u64)>,
}

/// Why a row can never be published. The words stand in `rowcall.parked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The subject is NULL, or what a subject may not be.
    Subject,
    /// The payload is NULL.
    NullPayload,
    /// A header is no `Name: value`.
    Header,
    /// It is larger than `max_payload`.
    TooLarge,
    /// SQL may not publish to that subject.
    Forbidden,
}

impl Flaw {
    /// What `rowcall.parked` calls it; the SQL functions use the same words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Flaw::Subject => "bad_subject",
            Flaw::NullPayload => "null_payload",
            Flaw::Header => "bad_header",
            Flaw::TooLarge => "too_large",
            Flaw::Forbidden => FORBIDDEN,
        }
    }
}

/// A row as the server gives it.
pub(crate) struct Row<'a> {
    pub(crate) id: u64,
    pub(crate) subject: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: Option<&'a [u8]>,
    /// `YYYY-MM-DD HH:MM:SS.ffffff`, in UTC.
    pub(crate) created_at: &'a [u8],
    /// Whether the server has kept back what is too large anyway.
    pub(crate) is_too_large: bool,
}

impl Row<'_> {
    /// The message of a site, if it can be published and is not larger than that.
    pub(crate) fn event(&self, site: &str, max_payload: usize) -> Result<Event, Flaw> {
        let subject = self.subject.filter(|subject| subject.len() < SUBJECT_MAX);
        let subject = subject.filter(|subject| subject::publishable(subject).is_ok()).ok_or(Flaw::Subject)?;
        if subject::is_reserved(subject) {
            return Err(Flaw::Forbidden);
        }
        if self.is_too_large {
            return Err(Flaw::TooLarge);
        }
        let payload = self.payload.ok_or(Flaw::NullPayload)?;
        let id = self.id.to_string();
        let time = self.time();
        let stamp = stamp(&time);
        let unique = format!("{site}/{id}.{stamp}");
        let own = [(ID, id.as_bytes()), (MESSAGE_ID, unique.as_bytes()), (TIME, &time)];
        let given = given(self.headers.unwrap_or_default())?;
        let key = given.iter().find(|(name, _)| name.eq_ignore_ascii_case(KEY.as_bytes()));
        let key = key.map(|&(_, value)| value.into());
        let pairs = own.map(|(name, value)| (name.as_bytes(), value)).into_iter().chain(given);
        let mut body = Vec::with_capacity(HEADERS_USUAL + payload.len());
        let header_len = headers::block(&mut body, pairs);
        body.extend_from_slice(payload);
        if body.len() > max_payload {
            return Err(Flaw::TooLarge);
        }
        Ok(Event {
            id: self.id,
            subject: subject.to_vec(),
            body,
            header_len,
            key,
            stamp,
            consumers: Vec::new(),
        })
    }

    /// The time as RFC 3339 writes it.
    fn time(&self) -> Vec<u8> {
        let mut time = self.created_at.to_vec();
        if let Some(blank) = time.get_mut(10) {
            *blank = b'T';
        }
        time.push(b'Z');
        time
    }
}

/// A time as RFC 3339 writes it, in microseconds since 1970.
fn stamp(time: &[u8]) -> i64 {
    let time = std::str::from_utf8(time).ok().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_microsecond)
}

/// The subject's column cuts at this length; whatever fills it may have been cut.
const SUBJECT_MAX: usize = 4000;

/// Room for the headers that every event has.
const HEADERS_USUAL: usize = 200;

/// A header's name and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The headers that came with the row.
fn given(lines: &[u8]) -> Result<Vec<Pair<'_>>, Flaw> {
    let lines = lines.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').ok_or(Flaw::Header)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let fine = headers::valid_name(name) && headers::valid_value(value) && !is_ours(name);
            if fine { Ok((name, value)) } else { Err(Flaw::Header) }
        })
        .collect()
}

fn is_ours(name: &[u8]) -> bool {
    [ID, MESSAGE_ID, TIME, DELIVERIES, headers::ACK_WAIT]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row<'_> = Row {
        id: 7,
        subject: Some(b"a.b"),
        payload: Some(b"hello"),
        headers: None,
        created_at: b"2026-11-24 14:52:48.151202",
        is_too_large: false,
    };

    #[test]
    fn a_row_becomes_a_message() {
        let event = Row { headers: Some(b"A: b\r\nRowcall-Key: k\n"), ..ROW }.event("shop", 1000).unwrap();
        let block = "NATS/1.0\r\nRowcall-Id: 7\r\nNats-Msg-Id: shop/7.1795531968151202\r\n\
                     Rowcall-Time: 2026-11-24T14:52:48.151202Z\r\nA: b\r\nRowcall-Key: k\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&event.body), format!("{block}hello"));
        assert_eq!((event.id, event.header_len, event.subject.as_slice()), (7, block.len(), &b"a.b"[..]));
        assert_eq!((event.key.as_deref(), event.stamp), (Some(&b"k"[..]), 1_795_531_968_151_202));
    }

    #[test]
    fn what_can_never_be_published_is_said() {
        let flaw = |row: Row<'_>| row.event("shop", 1000).unwrap_err();
        assert_eq!(flaw(Row { subject: None, ..ROW }), Flaw::Subject);
        assert_eq!(flaw(Row { subject: Some(b"a..b"), ..ROW }), Flaw::Subject);
        assert_eq!(flaw(Row { subject: Some(&[b'a'; 4096]), ..ROW }), Flaw::Subject);
        assert_eq!(flaw(Row { subject: Some(b"rowcall.consumer.mail"), ..ROW }), Flaw::Forbidden);
        assert_eq!(flaw(Row { payload: None, ..ROW }), Flaw::NullPayload);
        assert_eq!(flaw(Row { payload: Some(&[0; 1000]), ..ROW }), Flaw::TooLarge);
        assert_eq!(flaw(Row { payload: None, is_too_large: true, ..ROW }), Flaw::TooLarge);
        for headers in [
            "A",
            "A b: c",
            ": c",
            "Rowcall-Id: 8",
            "nats-msg-id: 8",
            "rowcall-deliveries: 2",
            "Rowcall-Ack-Wait: 1ms",
        ] {
            assert_eq!(flaw(Row { headers: Some(headers.as_bytes()), ..ROW }), Flaw::Header, "{headers}");
        }
    }
}

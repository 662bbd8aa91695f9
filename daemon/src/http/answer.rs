//! Answers as bytes: the status line, the headers, the body. No socket; what is answered when is other
//! files' business.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rowcall_wire::{Message, headers};
use std::borrow::Cow;

/// What the headers that carry those of a message begin with; its own name follows.
pub(crate) const HEADER_PREFIX: &str = "Rowcall-Header-";

/// Bytes of a message's headers that an answer carries: what HTTP clients read as a matter of course.
/// How many were left out for it is told.
const CARRIED_MAX: usize = 16 << 10;

/// What is escaped of a subject in a header, as in a URL: whatever could not stand there, and the escape.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b' ');

/// The answer to an `Expect`.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What every answer begins with, whatever it says.
pub(crate) const BEGINNING: &[u8] = b"HTTP/1.1 ";

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// How the answers to one request are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Whether another request may follow.
    pub(crate) keep: bool,
    /// Whether the request was one of HTTP/1.0.
    pub(crate) old: bool,
    /// Whether the body is left out, as HEAD wants it.
    pub(crate) bare: bool,
    /// Whether [`BEGINNING`] was written already.
    pub(crate) begun: bool,
    /// The web page's origin that is named.
    pub(crate) origin: Option<String>,
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    kind: &'static str,
    /// Lines with their ends.
    fields: Vec<u8>,
    body: Cow<'a, [u8]>,
}

impl<'a> Answer<'a> {
    /// A status and nothing else.
    pub(crate) fn empty(status: u16) -> Answer<'a> {
        Answer { status, kind: "", fields: Vec::new(), body: Cow::Borrowed(b"") }
    }

    /// A sentence for people.
    pub(crate) fn text(status: u16, sentence: &str) -> Answer<'a> {
        Answer { kind: TEXT, body: Cow::Owned(format!("{sentence}\n").into()), ..Answer::empty(status) }
    }

    /// JSON for programs.
    pub(crate) fn json(body: impl Into<String>) -> Answer<'a> {
        Answer { kind: "application/json", body: Cow::Owned(body.into().into()), ..Answer::empty(200) }
    }

    /// A page of that kind.
    pub(crate) fn page(status: u16, kind: &'static str, body: String) -> Answer<'a> {
        Answer { kind, body: Cow::Owned(body.into()), ..Answer::empty(status) }
    }

    /// A file of that kind, which is part of the program.
    pub(crate) fn file(kind: &'static str, content: &'static str) -> Answer<'a> {
        Answer { kind, body: Cow::Borrowed(content.as_bytes()), ..Answer::empty(200) }
    }

    /// A message: its payload as the body, its headers under [`HEADER_PREFIX`]. It is never called HTML,
    /// or anything else that a browser would run.
    pub(crate) fn message(status: u16, message: &Message<'a>) -> Answer<'a> {
        let payload = message.payload();
        let kind = if std::str::from_utf8(payload).is_ok() { TEXT } else { BYTES };
        let mut answer = Answer { kind, body: Cow::Borrowed(payload), ..Answer::empty(status) };
        let mut left_out = 0;
        for (name, value) in headers::pairs(message.headers()) {
            let size = answer.fields.len() + HEADER_PREFIX.len() + name.len() + value.len() + 4;
            if size <= CARRIED_MAX && is_token(name) && is_printable(value) {
                answer.fields.extend_from_slice(HEADER_PREFIX.as_bytes());
                answer.field_bytes(name, value);
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            answer = answer.field("Rowcall-Headers-Left-Out", &left_out.to_string());
        }
        answer
    }

    /// With a header more. Name and value must be ones.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Answer<'a> {
        self.field_bytes(name.as_bytes(), value.as_bytes());
        self
    }

    /// With a subject as the value of a header, escaped as in a URL.
    pub(crate) fn subject(self, name: &str, subject: &[u8]) -> Answer<'a> {
        let escaped = escaped(subject);
        self.field(name, &escaped)
    }

    fn field_bytes(&mut self, name: &[u8], value: &[u8]) {
        for bytes in [name, b": ", value, b"\r\n"] {
            self.fields.extend_from_slice(bytes);
        }
    }

    /// Appends it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, manner: &Manner) {
        status_line(out, self.status, manner);
        let mut line = |text: &str| out.extend_from_slice(text.as_bytes());
        if !self.kind.is_empty() {
            line(&format!("Content-Type: {}\r\nX-Content-Type-Options: nosniff\r\n", self.kind));
        }
        // A 204 has no length, as it has no body.
        if self.status != 204 {
            line(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        line("Cache-Control: no-store\r\n");
        line(match (manner.keep, manner.old) {
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        });
        origin(out, manner);
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"\r\n");
        if !manner.bare {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Appends the first line of an answer.
pub(super) fn status_line(out: &mut Vec<u8>, status: u16, manner: &Manner) {
    if !manner.begun {
        out.extend_from_slice(BEGINNING);
    }
    out.extend_from_slice(format!("{status} {}\r\n", reason(status)).as_bytes());
}

/// Appends what names the origin of the web page that asks.
pub(super) fn origin(out: &mut Vec<u8>, manner: &Manner) {
    if let Some(origin) = &manner.origin {
        let lines = format!(
            "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: *\r\nVary: Origin\r\n"
        );
        out.extend_from_slice(lines.as_bytes());
    }
}

/// A subject as a URL would hold it. Bytes that are no text come as the character for that.
pub(crate) fn escaped(subject: &[u8]) -> String {
    utf8_percent_encode(&String::from_utf8_lossy(subject), ESCAPED).to_string()
}

/// Whether HTTP can have a header of this name.
fn is_token(name: &[u8]) -> bool {
    let fine = |&byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.iter().all(fine)
}

/// Whether a header of HTTP can hold this.
fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control())
}

/// What HTTP calls a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        401 => "Unauthorized",
        409 => "Conflict",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &Answer<'_>, manner: Manner, expected: &str) {
        let mut out = Vec::new();
        answer.write(&mut out, &manner);
        assert_eq!(String::from_utf8_lossy(&out), expected.replace('\n', "\r\n").replace('$', "\n"));
    }

    fn kept() -> Manner {
        Manner { keep: true, ..Manner::default() }
    }

    #[test]
    fn what_an_answer_looks_like() {
        check(&Answer::empty(204), kept(), "HTTP/1.1 204 No Content\nCache-Control: no-store\n\n");
        let text = "HTTP/1.1 404 Not Found\nContent-Type: text/plain; charset=utf-8\n\
                    X-Content-Type-Options: nosniff\nContent-Length: 3\nCache-Control: no-store\n";
        check(&Answer::text(404, "no"), kept(), &format!("{text}\nno$"));
        check(&Answer::text(404, "no"), Manner::default(), &format!("{text}Connection: close\n\nno$"));
        check(&Answer::text(404, "no"), Manner { bare: true, ..kept() }, &format!("{text}\n"));
        let old = Manner { old: true, ..kept() };
        check(&Answer::text(404, "no"), old, &format!("{text}Connection: keep-alive\n\nno$"));
        let origin = Manner { origin: Some("https://a".into()), ..kept() };
        let lines =
            "Access-Control-Allow-Origin: https://a\nAccess-Control-Expose-Headers: *\nVary: Origin\n";
        check(&Answer::text(404, "no"), origin, &format!("{text}{lines}\nno$"));
    }

    #[test]
    fn a_message_cannot_smuggle_a_line() {
        let block = b"NATS/1.0\r\nA: b c\r\nB(x): d\r\nC: \x01\r\nD: e\rX: y\r\n\r\n\xff";
        let message = Message { subject: b"s", reply: None, body: block, header_len: block.len() - 1 };
        let answer = Answer::message(200, &message).subject("Rowcall-Subject", "a\r\nB:ß%".as_bytes());
        let mut out = Vec::new();
        answer.write(&mut out, &kept());
        let expected = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
            X-Content-Type-Options: nosniff\r\nContent-Length: 1\r\nCache-Control: no-store\r\n\
            Rowcall-Header-A: b c\r\nRowcall-Headers-Left-Out: 3\r\nRowcall-Subject: a%0D%0AB:%C3%9F%25\r\n\r\n\xff";
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn too_many_headers_are_left_out_and_counted() {
        let mut body = Vec::new();
        let value = [b'x'; 1000];
        let header_len = headers::block(&mut body, (0..20).map(|_| (&b"A"[..], &value[..])));
        let answer = Answer::message(200, &Message { subject: b"s", reply: None, body: &body, header_len });
        let fields = String::from_utf8(answer.fields).unwrap();
        assert_eq!(fields.matches("Rowcall-Header-A").count(), 16, "{fields}");
        assert!(fields.ends_with("Rowcall-Headers-Left-Out: 4\r\n"));
    }
}

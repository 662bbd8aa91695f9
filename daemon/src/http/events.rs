//! A stream of Server-Sent Events as bytes: its head, messages as events, what keeps it alive. No socket;
//! who listens to what stands in http/exchange.rs.

use super::answer::{self, Manner};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rowcall_wire::{Message, headers};

/// The header whose value is an event's unique id.
const ID: &str = "Nats-Msg-Id";

/// What a stream begins with: how many milliseconds a browser waits before it comes again. It also tells
/// proxies and browsers that the stream is open.
const RETRY: &str = "retry: 2000\n\n";

/// Says nothing, to keep the connection from looking dead to those who carry it.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// Says that the stream is about to end.
pub(super) const FAREWELL: &[u8] = b": rowcalld is leaving\n\n";

/// How a message looks as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Its payload is the data.
    Payload,
    /// The data is JSON: the subject, the headers, the payload.
    Json,
}

impl Form {
    /// The form that a request names, or the usual one.
    pub(super) fn named(name: Option<&str>) -> Option<Form> {
        match name {
            None | Some("payload") => Some(Form::Payload),
            Some("json") => Some(Form::Json),
            Some(_) => None,
        }
    }
}

/// Appends the head of a stream. Its body ends with the connection.
pub(super) fn head(out: &mut Vec<u8>, manner: &Manner) {
    answer::status_line(out, 200, manner);
    // A proxy that collects a stream before it hands it on would hold up what is sent.
    let lines = "Content-Type: text/event-stream\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\
                 X-Accel-Buffering: no\r\nConnection: close\r\n";
    out.extend_from_slice(lines.as_bytes());
    answer::origin(out, manner);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(RETRY.as_bytes());
}

/// Appends a message as an event. It has an id only if it comes from the outbox: anybody may write one into
/// a header, and whoever heard it would go on from there.
pub(super) fn event(out: &mut Vec<u8>, form: Form, message: &Message<'_>, ours: bool) {
    let block = message.headers();
    let id = headers::value(block, ID).filter(|id| id.iter().all(u8::is_ascii_graphic));
    if let Some(id) = id.filter(|_| ours) {
        line(out, "id", id);
    }
    match (form, std::str::from_utf8(message.payload())) {
        (Form::Json, payload) => line(out, "data", json(message, payload.ok()).as_bytes()),
        (Form::Payload, Ok(text)) => lines_of(text).for_each(|text| line(out, "data", text.as_bytes())),
        (Form::Payload, Err(_)) => {
            line(out, "event", b"base64");
            line(out, "data", BASE64.encode(message.payload()).as_bytes());
        }
    }
    out.push(b'\n');
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for bytes in [name.as_bytes(), b": ", value, b"\n"] {
        out.extend_from_slice(bytes);
    }
}

/// The lines of a text, each of which may end in any of three ways, as a reader of the stream sees it.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let after = if text[end..].starts_with("\r\n") { end + 2 } else { end + 1 };
        rest = Some(&text[after..]);
        Some(&text[..end])
    })
}

fn json(message: &Message<'_>, payload: Option<&str>) -> String {
    let mut json = serde_json::json!({ "subject": String::from_utf8_lossy(message.subject) });
    match payload {
        Some(text) => json["payload"] = text.into(),
        None => json["payload_base64"] = BASE64.encode(message.payload()).into(),
    }
    if let Some(reply) = message.reply {
        json["reply"] = String::from_utf8_lossy(reply).into();
    }
    let mut named = serde_json::Map::new();
    for (name, value) in headers::pairs(message.headers()) {
        // Of one name the first counts, as everywhere.
        let value = || String::from_utf8_lossy(value).into();
        named.entry(String::from_utf8_lossy(name)).or_insert_with(value);
    }
    json["headers"] = named.into();
    json.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, block: &str, payload: &[u8], expected: &str) {
        let body = [block.as_bytes(), payload].concat();
        let message = Message { subject: b"a.b", reply: None, body: &body, header_len: block.len() };
        let mut out = Vec::new();
        event(&mut out, form, &message, true);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{payload:?}");
    }

    #[test]
    fn payloads_become_lines_of_data() {
        check(Form::Payload, "", b"hello", "data: hello\n\n");
        check(Form::Payload, "", b"", "data: \n\n");
        check(Form::Payload, "", b"a\nb\r\nc\rd\n", "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
        check(Form::Payload, "", b"\n\ndata: x", "data: \ndata: \ndata: data: x\n\n");
        check(Form::Payload, "", "größe".as_bytes(), "data: größe\n\n");
        check(Form::Payload, "", b"\xff\x00\n", "event: base64\ndata: /wAK\n\n");
    }

    #[test]
    fn committed_events_have_an_id() {
        let block = "NATS/1.0\r\nNats-Msg-Id: s/17.5\r\nA: b\r\n\r\n";
        check(Form::Payload, block, b"x", "id: s/17.5\ndata: x\n\n");
        check(
            Form::Json,
            block,
            b"x\ny",
            "id: s/17.5\ndata: {\"headers\":{\"A\":\"b\",\"Nats-Msg-Id\":\"s/17.5\"},\"payload\":\"x\\ny\",\"subject\":\"a.b\"}\n\n",
        );
        check(Form::Payload, "NATS/1.0\r\nNats-Msg-Id: 1\rdata: y\r\n\r\n", b"x", "data: x\n\n");
        check(
            Form::Json,
            "",
            b"\xff",
            "data: {\"headers\":{},\"payload_base64\":\"/w==\",\"subject\":\"a.b\"}\n\n",
        );
    }

    #[test]
    fn a_stream_has_a_head() {
        let mut out = Vec::new();
        head(&mut out, &Manner { origin: Some("https://a".into()), ..Manner::default() });
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"), "{out}");
        assert!(out.contains("Access-Control-Allow-Origin: https://a\r\n"), "{out}");
        assert!(out.ends_with("\r\n\r\nretry: 2000\n\n"), "{out}");
    }
}

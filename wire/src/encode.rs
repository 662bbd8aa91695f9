//! Operations to bytes, appended to a buffer of the caller's. Nothing is checked here: subjects
//! and headers were validated where they entered.

use crate::Message;

/// `PING` with its line end.
pub const PING: &[u8] = b"PING\r\n";
/// `PONG` with its line end.
pub const PONG: &[u8] = b"PONG\r\n";
/// `+OK` with its line end.
pub const OK: &[u8] = b"+OK\r\n";

/// The end of a line, and of a body.
pub const LINE_END: &[u8] = b"\r\n";

/// `PUB` or, when the message has headers, `HPUB`; whole, with the body.
pub fn publish(out: &mut Vec<u8>, message: &Message<'_>) {
    out.reserve(message.subject.len() + message.reply.map_or(0, <[u8]>::len) + message.body.len() + 40);
    publish_line(out, message.subject, message.reply, message.header_len, message.body.len());
    out.extend_from_slice(message.body);
    out.extend_from_slice(LINE_END);
}

/// The control line of `PUB` or, when there are headers, `HPUB`: up to and with its line end. A body
/// of `body_len` bytes, of which the first `header_len` are the header block, and a line end go
/// behind it.
pub fn publish_line(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: Option<&[u8]>,
    header_len: usize,
    body_len: usize,
) {
    out.extend_from_slice(if header_len > 0 { b"HPUB " } else { b"PUB " });
    out.extend_from_slice(subject);
    sizes(out, reply, header_len, body_len);
}

/// The control line of `MSG` or, when the message has headers, `HMSG`: up to and with its line
/// end. The body and a line end go behind it.
pub fn msg_line(out: &mut Vec<u8>, sid: &[u8], message: &Message<'_>) {
    out.extend_from_slice(if message.header_len > 0 { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(message.subject);
    out.push(b' ');
    out.extend_from_slice(sid);
    sizes(out, message.reply, message.header_len, message.body.len());
}

/// `SUB`.
pub fn sub(out: &mut Vec<u8>, subject: &[u8], queue: Option<&[u8]>, sid: u64) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject);
    if let Some(queue) = queue {
        out.push(b' ');
        out.extend_from_slice(queue);
    }
    out.push(b' ');
    number(out, sid);
    out.extend_from_slice(b"\r\n");
}

/// `UNSUB`, at once or after `max` messages since the `SUB`.
pub fn unsub(out: &mut Vec<u8>, sid: u64, max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    number(out, sid);
    if let Some(max) = max {
        out.push(b' ');
        number(out, max);
    }
    out.extend_from_slice(b"\r\n");
}

/// `-ERR`. The single quotes are part of what clients match on.
pub fn err(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR '");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"'\r\n");
}

/// `INFO` or `CONNECT` with its JSON.
pub fn json_line(out: &mut Vec<u8>, verb: &str, json: &str) {
    out.extend_from_slice(verb.as_bytes());
    out.push(b' ');
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// ` [reply] [headers] size` and the line end, which end `PUB`, `HPUB`, `MSG` and `HMSG` alike.
fn sizes(out: &mut Vec<u8>, reply: Option<&[u8]>, header_len: usize, body_len: usize) {
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    if header_len > 0 {
        number(out, header_len as u64);
        out.push(b' ');
    }
    number(out, body_len as u64);
    out.extend_from_slice(LINE_END);
}

fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{self, ClientOp, Limits, ServerOp, Step};

    const LIMITS: Limits =
        Limits { control_line: crate::CONTROL_LINE_MAX, payload: crate::PAYLOAD_MAX, headers: true };

    fn messages() -> Vec<Message<'static>> {
        let block = b"NATS/1.0\r\nA: b\r\n\r\npayload";
        vec![
            Message::plain(b"a.b", b""),
            Message::plain(b"a.b", b"payload"),
            Message { reply: Some(b"r.1"), ..Message::plain(b"a", b"x") },
            Message { header_len: 18, ..Message::plain(b"a", block) },
            Message { header_len: 18, reply: Some(b"r"), ..Message::plain(b"a", block) },
        ]
    }

    #[test]
    fn what_is_published_is_parsed_back() {
        for message in messages() {
            let mut out = Vec::new();
            publish(&mut out, &message);
            let expected = match message.header_len {
                0 => ClientOp::Pub(message),
                _ => ClientOp::Hpub(message),
            };
            assert_eq!(parse::client_op(&out, &LIMITS), Ok(Step::Op(expected, out.len())));
        }
    }

    #[test]
    fn what_is_delivered_is_parsed_back() {
        for message in messages() {
            let mut out = Vec::new();
            msg_line(&mut out, b"12", &message);
            out.extend_from_slice(message.body);
            out.extend_from_slice(b"\r\n");
            let expected = ServerOp::Msg { sid: b"12", message };
            assert_eq!(parse::server_op(&out, &LIMITS), Ok(Step::Op(expected, out.len())));
        }
    }

    #[test]
    fn lines() {
        let mut out = Vec::new();
        sub(&mut out, b"a.>", None, 1);
        sub(&mut out, b"a.>", Some(b"q"), 2);
        unsub(&mut out, 1, None);
        unsub(&mut out, 2, Some(5));
        err(&mut out, "Stale Connection");
        json_line(&mut out, "INFO", "{}");
        let expected = "SUB a.> 1\r\nSUB a.> q 2\r\nUNSUB 1\r\nUNSUB 2 5\r\n\
                        -ERR 'Stale Connection'\r\nINFO {}\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

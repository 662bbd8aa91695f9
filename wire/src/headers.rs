//! The header block `NATS/1.0`: building one, reading its status and its values. A server carries
//! blocks byte for byte and never looks inside; only the two ends use this.

use std::time::Duration;

/// What opens every block.
const VERSION: &[u8] = b"NATS/1.0";

/// The block a server sends, without a payload, to a requester whom nobody can answer.
pub const NO_RESPONDERS: &[u8] = b"NATS/1.0 503\r\n\r\n";

/// The status in [`NO_RESPONDERS`].
pub const STATUS_NO_RESPONDERS: u16 = 503;

/// The header of an answer that says the work was not done, as the NATS services' convention has
/// it; its value is for people.
pub const SERVICE_ERROR: &str = "Nats-Service-Error";
/// The number beside [`SERVICE_ERROR`].
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// The header of a durable consumer's event, in milliseconds (`4000ms`): the time after which a delivery
/// without an answer has failed. Only where it is shorter than [`ACK_WAIT_USUAL`].
pub const ACK_WAIT: &str = "Rowcall-Ack-Wait";
/// The ack wait that workers go by where an event does not say it: JetStream's default, and ours.
pub const ACK_WAIT_USUAL: Duration = Duration::from_secs(30);

/// The header of the daemon's answer, without a payload, that there is no reply for this ticket; its
/// value says why, in the word that SQL is told.
pub const NO_REPLY: &str = "Rowcall-No-Reply";

/// The header that says that a message is to be traced and not delivered.
const TRACE_ONLY: &str = "Nats-Trace-Only";
/// The header beside it: the subject on which servers report the message's way.
const TRACE_DEST: &str = "Nats-Trace-Dest";
/// The value of [`TRACE_DEST`] by which servers keep what they have traced from being traced again.
const TRACE_DISABLED: &[u8] = b"trace disabled";

/// Appends a block with these headers to `out` and says how long it is. Names and values must be
/// [valid](valid_name).
pub fn block<'a>(out: &mut Vec<u8>, headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    let start = out.len();
    out.extend_from_slice(VERSION);
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.len() - start
}

/// Whether a header may be called so: visible ASCII without a colon, at least one byte.
pub fn valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_graphic() && byte != b':')
}

/// Whether a header may hold this: anything but a line end or a NUL.
pub fn valid_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// The status behind the version, as in `NATS/1.0 503`; `None` where a block has none or is none.
pub fn status(block: &[u8]) -> Option<u16> {
    let line = lines(block)?.next()?;
    let digits = line.strip_prefix(VERSION)?.trim_ascii().get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Names and values, in order, blanks around the values taken off. Names keep their case.
pub fn pairs(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(block).into_iter().flatten().skip(1).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// The value of the first header of this name, in any case.
pub fn value<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pairs(block).find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

/// Whether a message with this block is to be traced and not delivered, as nats-server 2.15.1 reads it: both
/// headers in exactly their case, the first of each name, and somewhere to report to.
pub fn is_trace_only(block: &[u8]) -> bool {
    let first = |name: &str| pairs(block).find(|(it, _)| *it == name.as_bytes()).map(|(_, value)| value);
    let yes = |value: &[u8]| [&b"1"[..], b"true", b"on"].iter().any(|yes| yes.eq_ignore_ascii_case(value));
    first(TRACE_ONLY).is_some_and(yes)
        && first(TRACE_DEST).is_some_and(|dest| !dest.is_empty() && dest != TRACE_DISABLED)
}

/// The lines of a block without their ends; `None` for bytes that are no block.
fn lines(block: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    block.starts_with(VERSION).then(|| block.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_back() {
        let mut out = b"before".to_vec();
        let length = block(&mut out, [(&b"A"[..], &b"1"[..]), (b"Nats-Msg-Id", b"x: y")]);
        let written = &out[6..];
        assert_eq!(written, b"NATS/1.0\r\nA: 1\r\nNats-Msg-Id: x: y\r\n\r\n");
        assert_eq!(length, written.len());
        assert_eq!(status(written), None);
        assert_eq!(value(written, "nats-msg-id"), Some(&b"x: y"[..]));
        assert_eq!(value(written, "B"), None);
        assert_eq!(pairs(written).count(), 2);
    }

    #[test]
    fn a_status_is_read() {
        assert_eq!(status(NO_RESPONDERS), Some(STATUS_NO_RESPONDERS));
        assert_eq!(status(b"NATS/1.0 408 Request Timeout\r\n\r\n"), Some(408));
        assert_eq!(status(b"NATS/1.0 x\r\n\r\n"), None);
        assert_eq!(status(b"nothing of the kind"), None);
    }

    #[test]
    fn what_is_only_to_be_traced_says_so_twice() {
        let block = |headers: &str| format!("NATS/1.0\r\n{headers}\r\n").into_bytes();
        assert!(is_trace_only(&block("Nats-Trace-Only: True\r\nNats-Trace-Dest: a\r\n")));
        assert!(!is_trace_only(&block("Nats-Trace-Only: true\r\n")) && !is_trace_only(b""));
        assert!(!is_trace_only(&block("nats-trace-only: true\r\nNats-Trace-Dest: a\r\n")));
        assert!(!is_trace_only(&block("Nats-Trace-Only: true\r\nNats-Trace-Dest: trace disabled\r\n")));
    }

    #[test]
    fn a_header_cannot_smuggle_a_line() {
        assert!(valid_name(b"Nats-Msg-Id"));
        for name in [&b""[..], b"a b", b"a:b", b"a\r\nb", "ä".as_bytes()] {
            assert!(!valid_name(name), "{name:?}");
        }
        assert!(valid_value("grün, 5 €".as_bytes()));
        for value in [&b"a\r\nB: c"[..], b"a\n", b"a\0"] {
            assert!(!valid_value(value), "{value:?}");
        }
    }
}

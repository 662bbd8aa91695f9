//! WebSocket (RFC 6455), the server's side, as a function of bytes: frames to what they carry, and back.
//! Text and binary frames are one stream of bytes; where they begin and end means nothing. No socket, no
//! HTTP but the accept key, no NATS.
//!
//! ```text
//!   in    | head, mask | masked payload ...... | head, mask | ...
//!   out   | head | payload, as it is owed ........ | pong | head | ...
//! ```
//!
//! Nothing is copied on the way out: a frame is announced with as many bytes as are offered to one write,
//! and what the socket does not take of them comes first in the next.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io::{self, IoSlice};

/// Bytes of a head: two, the long form of the length, the mask.
const HEAD_MAX: usize = 2 + 8 + 4;

/// Bytes that a control frame carries at most.
const CONTROL_MAX: usize = 125;

/// The last frame of a message; ours all are.
const FIN: u8 = 0x80;
/// Bits of extensions that nobody agreed upon.
const RESERVED: u8 = 0x70;
/// Whether the payload is masked, as a client's must be.
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why a connection is closed, in the number that a close frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// All was said.
    Normal = 1000,
    /// We leave.
    GoingAway = 1001,
    /// The peer has made a mistake.
    Protocol = 1002,
    /// The peer is not let in, or asks for too much.
    Policy = 1008,
    /// The peer's message is too large.
    TooLarge = 1009,
}

/// The peer does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// What a client's key is answered with.
pub(crate) fn accept(key: &str) -> String {
    let joined = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()))
}

/// One connection's.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    /// The head of the frame that comes in, as far as it has come.
    head: Vec<u8>,
    /// Bytes of its payload that have not come.
    missing: u64,
    /// What they are masked with, the next byte's first.
    mask: [u8; 4],
    /// The payload of a control frame, as far as it has come.
    control: Vec<u8>,
    /// Whether a message has begun whose last frame has not come.
    fragmented: bool,
    /// Whether the peer has closed.
    ended: bool,
    /// Bytes that go out before anything else does: control frames, a head.
    front: Vec<u8>,
    /// Bytes of the frame that goes out that are announced and not sent.
    due: usize,
    /// The answer to the peer's latest ping, until a frame's end and until the one before it is sent.
    pong: Option<Vec<u8>>,
    /// Whether our close frame was given out.
    closed: bool,
    /// Bytes that are owed from before, of HTTP: they go out as they are.
    raw: usize,
}

impl WebSocket {
    /// One that begins after so many bytes that are owed.
    pub(crate) fn after(raw: usize) -> WebSocket {
        WebSocket { raw, ..WebSocket::default() }
    }

    /// Whether the peer has said that no more will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes bytes that have come, and appends what they carry to `out`.
    ///
    /// # Errors
    /// The peer's mistake. What came before it has been appended.
    pub(crate) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
        while !bytes.is_empty() && !self.ended {
            if self.missing == 0 && !self.take_head(&mut bytes)? {
                break;
            }
            let here = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
            let is_control = self.opcode() >= CLOSE;
            let to = if is_control { &mut self.control } else { &mut *out };
            let at = to.len();
            to.extend_from_slice(&bytes[..here]);
            for (byte, mask) in to[at..].iter_mut().zip(self.mask.iter().cycle()) {
                *byte ^= mask;
            }
            self.mask.rotate_left(here % 4);
            bytes = &bytes[here..];
            self.missing -= here as u64;
            if self.missing == 0 {
                self.end_frame();
            }
        }
        Ok(())
    }

    fn opcode(&self) -> u8 {
        self.head.first().map_or(BINARY, |first| first & 0x0f)
    }

    /// Takes what belongs to a head; says whether it is whole.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<bool, Violation> {
        while let Some((&byte, rest)) = bytes.split_first() {
            self.head.push(byte);
            *bytes = rest;
            if let [first, second, ..] = self.head[..] {
                self.check(first, second)?;
                let long = match second & !MASKED {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                if self.head.len() == 2 + long + 4 {
                    self.begin_frame(second, long);
                    return if self.missing >> 63 == 0 { Ok(true) } else { Err(Violation) };
                }
            }
            debug_assert!(self.head.len() < HEAD_MAX);
        }
        Ok(false)
    }

    fn check(&self, first: u8, second: u8) -> Result<(), Violation> {
        let opcode = first & 0x0f;
        let sound = match opcode {
            CLOSE | PING | PONG => first & FIN != 0 && usize::from(second & !MASKED) <= CONTROL_MAX,
            CONTINUATION => self.fragmented,
            TEXT | BINARY => !self.fragmented,
            _ => false,
        };
        if sound && first & RESERVED == 0 && second & MASKED != 0 { Ok(()) } else { Err(Violation) }
    }

    fn begin_frame(&mut self, second: u8, long: usize) {
        let (length, mask) = self.head[2..].split_at(long);
        self.missing = match long {
            0 => u64::from(second & !MASKED),
            _ => length.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        self.mask.copy_from_slice(mask);
    }

    fn end_frame(&mut self) {
        let (opcode, last) = (self.opcode(), self.head.first().is_some_and(|first| first & FIN != 0));
        self.head.clear();
        let control = std::mem::take(&mut self.control);
        match opcode {
            CLOSE => self.ended = true,
            PING => self.pong = Some(control),
            PONG => {}
            _ => self.fragmented = !last,
        }
    }

    /// Bytes of our own that are to be sent and do not count among what is owed.
    pub(crate) fn waiting(&self) -> usize {
        self.front.len() + self.pong.as_ref().map_or(0, |pong| 2 + pong.len())
    }

    /// Sends the next bytes that are owed, framed, and says how many of them were taken. Called with
    /// none, it sends what else there is.
    ///
    /// # Errors
    /// Those of `send`.
    pub(crate) fn send(
        &mut self,
        slices: &[IoSlice<'_>],
        mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.raw > 0 {
            let sent = send(&limited(slices, self.raw))?;
            self.raw -= sent;
            return Ok(sent);
        }
        if self.due == 0 {
            // One pong at a time: to a peer that does not read, they would pile up.
            if self.front.is_empty()
                && let Some(pong) = self.pong.take()
            {
                frame(&mut self.front, PONG, &pong);
            }
            self.due = slices.iter().map(|slice| slice.len()).sum();
            if self.due > 0 {
                head(&mut self.front, BINARY, self.due);
            }
        }
        let mut all = Vec::with_capacity(slices.len() + 1);
        if !self.front.is_empty() {
            all.push(IoSlice::new(&self.front));
        }
        all.extend(limited(slices, self.due));
        if all.is_empty() {
            return Ok(0);
        }
        let sent = send(&all)?;
        let of_front = sent.min(self.front.len());
        self.front.drain(..of_front);
        if self.front.is_empty() {
            self.front = Vec::new();
        }
        self.due -= sent - of_front;
        Ok(sent - of_front)
    }

    /// Closes, once nothing is owed any more; says whether there was anything to be said about it.
    pub(crate) fn close(&mut self, code: Code) -> bool {
        let now = !self.closed && self.due == 0 && self.raw == 0;
        if now {
            self.closed = true;
            self.pong = None;
            frame(&mut self.front, CLOSE, &(code as u16).to_be_bytes());
        }
        now
    }
}

/// The first bytes of these, as many as that.
fn limited<'a>(slices: &'a [IoSlice<'_>], mut room: usize) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(slices.len());
    for slice in slices {
        let here = slice.len().min(room);
        room -= here;
        if here > 0 {
            parts.push(IoSlice::new(&slice[..here]));
        }
    }
    parts
}

fn frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

fn head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(FIN | opcode);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        head(&mut out, first & 0x0f, payload.len());
        out[0] = first;
        out[1] |= MASKED;
        let mask = [0x12, 0xff, 0x00, 0x7b];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    fn sent(it: &mut WebSocket, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let taken = it.send(&[IoSlice::new(payload)], |slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        assert_eq!(taken.unwrap(), payload.len());
        out
    }

    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_put_together_wherever_they_are_cut() {
        let long = vec![b'x'; 300];
        let huge = vec![b'y'; 70_000];
        let stream = [
            masked(FIN | BINARY, b"PUB a 2\r\n"),
            masked(TEXT, b"h"),
            masked(FIN | PING, b"are you there?"),
            masked(CONTINUATION, b""),
            masked(FIN | CONTINUATION, &long),
            masked(FIN | PONG, b""),
            masked(FIN | BINARY, &huge),
        ]
        .concat();
        let expected = [&b"PUB a 2\r\nh"[..], &long, &huge].concat();
        let heads = 500;
        for at in (0..heads).chain([stream.len() - 1]) {
            let (mut it, mut out) = (WebSocket::default(), Vec::new());
            it.take(&stream[..at], &mut out).unwrap();
            it.take(&stream[at..], &mut out).unwrap();
            assert!(out == expected, "{at}");
            assert_eq!(sent(&mut it, b""), [&[FIN | PONG, 14][..], b"are you there?"].concat());
        }
        let (mut it, mut out) = (WebSocket::default(), Vec::new());
        stream.iter().for_each(|byte| it.take(&[*byte], &mut out).unwrap());
        assert!(out == expected);
    }

    #[test]
    fn mistakes_are_refused_and_what_came_before_counts() {
        for wrong in [
            vec![FIN | BINARY, 1, b'x'],
            masked(FIN | 0x40 | BINARY, b""),
            masked(FIN | 3, b""),
            masked(FIN | CONTINUATION, b""),
            masked(PING, b""),
            [masked(BINARY, b""), masked(BINARY, b"")].concat(),
            masked(FIN | PING, &[0; 126]),
            [&[FIN | BINARY, MASKED | 127, 0x80][..], &[0; 11]].concat(),
        ] {
            let (mut it, mut out) = (WebSocket::default(), Vec::new());
            let stream = [masked(FIN | BINARY, b"hi"), wrong].concat();
            assert_eq!(it.take(&stream, &mut out), Err(Violation), "{stream:?}");
            assert_eq!(out, b"hi");
        }
    }

    #[test]
    fn a_close_ends_what_comes() {
        let (mut it, mut out) = (WebSocket::default(), Vec::new());
        let stream = [masked(FIN | BINARY, b"hi"), masked(FIN | CLOSE, &[3, 232]), b"whatever".to_vec()];
        it.take(&stream.concat(), &mut out).unwrap();
        assert!(it.has_ended());
        assert_eq!(out, b"hi");
        assert!(it.close(Code::Normal));
        assert!(!it.close(Code::Normal), "once");
        assert_eq!(it.waiting(), 4);
        assert_eq!(sent(&mut it, b""), [FIN | CLOSE, 2, 3, 232]);
        assert_eq!(it.waiting(), 0);
    }

    #[test]
    fn what_was_owed_before_goes_out_as_it_is() {
        let mut it = WebSocket::after(5);
        let mut out = Vec::new();
        let mut send = |it: &mut WebSocket, bytes: &[u8]| {
            let taken = it.send(&[IoSlice::new(bytes)], |slices| {
                slices.iter().for_each(|slice| out.extend_from_slice(slice));
                Ok(slices.iter().map(|slice| slice.len()).sum())
            });
            taken.unwrap()
        };
        assert_eq!(send(&mut it, b"HTTP\nINFO"), 5);
        assert_eq!(send(&mut it, b"INFO"), 4);
        assert_eq!(out, [&b"HTTP\n"[..], &[FIN | BINARY, 4], b"INFO"].concat());
    }

    #[test]
    fn who_pings_and_does_not_read_is_owed_two_pongs_at_most() {
        let mut it = WebSocket::default();
        for _ in 0..100 {
            it.take(&masked(FIN | PING, &[b'x'; CONTROL_MAX]), &mut Vec::new()).unwrap();
            assert_eq!(it.send(&[], |_| Ok(1)).unwrap(), 0);
        }
        assert!(it.waiting() <= 2 * (2 + CONTROL_MAX), "{} bytes", it.waiting());
    }

    /// A socket that takes a few bytes at a time; a pong that is due in the midst of a frame.
    #[test]
    fn what_is_not_taken_comes_first_in_the_next_write() {
        for most in 1..40 {
            let (mut it, mut out, mut owed) = (WebSocket::default(), Vec::new(), Vec::new());
            owed.extend((0..200u8).cycle().take(1000));
            let mut pinged = false;
            let mut left = &owed[..];
            while !left.is_empty() {
                // Offered in two slices, and not always all of it.
                let offered = left.len().min(300);
                let (one, two) = left[..offered].split_at(offered / 3);
                let taken = it.send(&[IoSlice::new(one), IoSlice::new(two)], |slices| {
                    let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                    let taken = whole.len().min(most);
                    out.extend_from_slice(&whole[..taken]);
                    Ok(taken)
                });
                left = &left[taken.unwrap()..];
                if left.len() < 900 && !pinged {
                    it.take(&masked(FIN | PING, b"!"), &mut Vec::new()).unwrap();
                    pinged = true;
                }
            }
            let (mut got, mut pongs, mut rest) = (Vec::new(), 0, &out[..]);
            while let [first, second, tail @ ..] = rest {
                let (length, tail) = match second {
                    126 => (usize::from(tail[0]) << 8 | usize::from(tail[1]), &tail[2..]),
                    &length => (usize::from(length), tail),
                };
                pongs += usize::from(*first == FIN | PONG);
                if *first == FIN | BINARY {
                    got.extend_from_slice(&tail[..length]);
                }
                rest = &tail[length..];
            }
            assert!(got == owed, "{most}");
            assert_eq!(pongs, 1, "{most}");
        }
    }
}
